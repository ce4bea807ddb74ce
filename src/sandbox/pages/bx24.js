"use strict";
// A stand-in for Bitrix24's library, with as much of it as an installation needs. The portal names
// the frame "host|protocol|APP_SID", and both sides talk by messages.
(() => {
  const [host, protocol, sid] = window.name.split("|");
  if (window.parent === window || !sid) {
    throw new Error("Unable to initialize Bitrix24 JS library!");
  }
  const portal = `${protocol === "1" ? "https" : "http"}://${host}`;
  const waiting = new Map();
  let last = 0;
  const send = (method, args, callback) => {
    last += 1;
    if (callback) waiting.set(String(last), callback);
    window.parent.postMessage(`${method}:${JSON.stringify(args)}:${last}:${sid}`, portal);
  };
  addEventListener("message", (event) => {
    if (event.source !== window.parent || event.origin !== portal) return;
    const text = String(event.data);
    const number = text.slice(0, text.indexOf(":"));
    const callback = waiting.get(number);
    waiting.delete(number);
    if (callback) callback(JSON.parse(text.slice(number.length + 1)));
  });
  window.BX24 = {
    init(callback) {
      const begin = () => send("getInitData", {}, () => callback && callback());
      if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin);
      else begin();
    },
    installFinish() {
      send("installFinish", { value: true });
    },
  };
})();
