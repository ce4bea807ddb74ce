//! Which portals have the app, and how far each of them has got with its installation.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::text;

/// Every portal that was ever spoken of. Many live at one address.
#[derive(Debug, Default)]
pub(super) struct Installs {
    by_member: BTreeMap<String, Install>,
    /// Pages of the app that were rendered: `APP_SID` and whose portal it is.
    pages: VecDeque<(String, String)>,
}

/// One portal's installation.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Install {
    /// Constant for app and portal until the app is installed anew.
    #[serde(skip)]
    pub(super) application_token: String,
    /// Whether the app's page has called `BX24.installFinish()`.
    pub(super) finished: bool,
    /// Whether the app was uninstalled.
    pub(super) removed: bool,
    /// `http://host:port`, where it is not the sandbox's own.
    pub(super) portal_url: Option<String>,
}

impl Install {
    fn new() -> Self {
        Self {
            application_token: text::random_hex(16),
            finished: false,
            removed: false,
            portal_url: None,
        }
    }
}

impl Installs {
    /// That portal's installation; there is one as soon as somebody asks.
    pub(super) fn of(&mut self, member_id: &str) -> &mut Install {
        self.by_member.entry(member_id.to_owned()).or_insert_with(Install::new)
    }

    /// The same, to look at; `None` when nobody has asked.
    pub(super) fn find(&self, member_id: &str) -> Option<&Install> {
        self.by_member.get(member_id)
    }

    /// Whether that portal has uninstalled the app.
    pub(super) fn removed(&self, member_id: &str) -> bool {
        self.find(member_id).is_some_and(|install| install.removed)
    }

    /// Whether that portal's wizard has ended.
    pub(super) fn finished(&self, member_id: &str) -> bool {
        self.find(member_id).is_some_and(|install| install.finished)
    }

    /// The portal that has this `host:port` for itself.
    pub(super) fn at(&self, authority: &str) -> Option<&str> {
        let mut all = self.by_member.iter();
        let found = all.find(|(_, install)| {
            let own = install.portal_url.as_deref().and_then(|url| url.split("://").nth(1));
            own.is_some_and(|own| own.eq_ignore_ascii_case(authority))
        });
        found.map(|(member_id, _)| member_id.as_str())
    }

    /// Takes the app away.
    pub(super) fn remove(&mut self, member_id: &str) {
        let install = self.of(member_id);
        install.removed = true;
        install.finished = false;
    }

    /// Puts the app back, as a new installation.
    pub(super) fn renew(&mut self, member_id: &str) {
        let portal_url = self.of(member_id).portal_url.take();
        *self.of(member_id) = Install { portal_url, ..Install::new() };
    }

    /// A page of the app is rendered.
    pub(super) fn open_page(&mut self, app_sid: &str, member_id: &str) {
        if self.pages.len() == PAGES_MAX {
            self.pages.pop_front();
        }
        self.pages.push_back((app_sid.to_owned(), member_id.to_owned()));
    }

    /// That page says that the installation is complete; `false` when there is no such page.
    pub(super) fn finish(&mut self, app_sid: &str) -> bool {
        let page = self.pages.iter().find(|(sid, _)| sid == app_sid);
        let Some((_, member_id)) = page.cloned() else {
            return false;
        };
        self.of(&member_id).finished = true;
        true
    }

    /// All of them, for people.
    pub(super) fn all(&self) -> &BTreeMap<String, Install> {
        &self.by_member
    }
}

const PAGES_MAX: usize = 1_000;
