// Keeps the status page fresh. The page is whole without it.
"use strict";

const EVERY_MS = 2000;
const GIVE_UP_MS = 8000;

// How far this browser's clock is behind the gateway's, seconds.
let behind = 0;
let lastSeen = new Date();

function span(seconds) {
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor(seconds / 3600) % 24;
  const minutes = Math.floor(seconds / 60) % 60;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return `${minutes} min ${seconds % 60} s`;
  return `${seconds} s`;
}

function tick() {
  const now = Math.floor(Date.now() / 1000) + behind;
  for (const time of document.querySelectorAll("time[data-at]")) {
    const left = Number(time.dataset.at) - now;
    const words = left > 0 ? `in ${span(left)}` : left === 0 ? "now" : `${span(-left)} ago`;
    if (time.textContent !== words) time.textContent = words;
  }
}

function setClock() {
  const told = Number(document.getElementById("status").dataset.now);
  behind = told - Math.floor(Date.now() / 1000);
}

// Makes `old` like `fresh` and keeps every element that can be kept, so that a click, the focus and
// what was opened or checked survive.
function become(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const kept = new Map();
  for (const child of old.children) if (child.id) kept.set(child.id, child);
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    let mine = wanted.id ? kept.get(wanted.id) : place;
    if (mine && !wanted.id && mine.id) mine = null;
    if (!mine || mine.nodeName !== wanted.nodeName) {
      old.insertBefore(wanted, place);
      continue;
    }
    if (mine === place) place = place.nextSibling;
    else old.insertBefore(mine, place);
    if (mine.nodeType === Node.ELEMENT_NODE) become(mine, wanted);
    else if (mine.data !== wanted.data) mine.data = wanted.data;
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function tell(text) {
  const lost = document.getElementById("lost");
  lost.hidden = !text;
  if (lost.textContent !== text) lost.textContent = text;
}

async function load() {
  const answer = await fetch(`${location.pathname}?fragment`, {
    headers: { Accept: "text/html" },
    cache: "no-store",
    signal: AbortSignal.timeout(GIVE_UP_MS),
  });
  if (!answer.ok) {
    const asks = answer.status === 401 || answer.status === 403;
    throw new Error(asks ? "The gateway does not let this page in any more; load it again." : "");
  }
  const text = await answer.text();
  const page = new DOMParser().parseFromString(text, "text/html");
  const fresh = page.getElementById("status");
  if (!fresh) throw new Error("");
  become(document.getElementById("status"), fresh);
  setClock();
  tick();
}

async function refresh() {
  if (!document.hidden) {
    try {
      await load();
      lastSeen = new Date();
      tell("");
    } catch (error) {
      const at = lastSeen.toLocaleTimeString();
      const reason = error instanceof Error && error.name === "Error" ? error.message : "";
      tell(`${reason || "The gateway does not answer."} This is how it was at ${at}.`);
    }
  }
  setTimeout(refresh, EVERY_MS);
}

setClock();
tick();
setInterval(tick, 1000);
setTimeout(refresh, EVERY_MS);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) tick();
});
