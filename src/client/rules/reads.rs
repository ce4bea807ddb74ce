//! What only reads: a closed list, so that a method nobody has thought of counts as one that writes.
//!
//! Bitrix24 names nearly all of its methods by what they do, last word last. Those that read by
//! another name are listed whole, and so are those that do more than their name says.

/// Whether a method, in lower case, is known to change nothing.
pub(super) fn only(method: &[u8]) -> bool {
    let last = method.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    // One word alone is a name, not an action on something.
    let acts = last.len() < method.len() && WORDS.contains(&last);
    (acts || METHODS.contains(&method)) && !EXCEPT.contains(&method)
}

/// Last words of methods that read.
pub(super) const WORDS: &[&[u8]] = &[
    b"get",
    b"list",
    b"fields",
    b"count",
    b"search",
    b"types",
    b"getlist",
    b"getfields",
    b"getchildren",
    b"gettypes",
    b"getversions",
    b"tail",      // version 3: a list from a place on
    b"aggregate", // version 3: sums and counts
];

/// Methods that read by other names.
pub(super) const METHODS: &[&[u8]] = &[
    b"access.name",
    b"app.info",
    b"calendar.event.get.nearby",
    b"crm.duplicate.findbycomm",
    b"crm.enum.activitydirection",
    b"crm.enum.activitytype",
    b"crm.enum.ownertype",
    b"crm.status.entity.items",
    b"documentation",
    b"download",
    b"events",
    b"imconnector.status",
    b"lists.get.iblock.type.id",
    b"methods",
    b"profile",
    b"rest.documentation.openapi",
    b"scope",
    b"scopes",
    b"server.time",
    b"sonet_group.user.groups",
    b"timeman.settings",
    b"timeman.status",
    b"user.access",
    b"user.admin",
    b"user.current",
];

/// Methods that do more than they say.
pub(super) const EXCEPT: &[&[u8]] = &[
    b"event.offline.get",           // takes the events out of the queue
    b"im.disk.folder.get",          // makes the folder
    b"im.v2.event.get",             // confirms what was read before
    b"imbot.v2.event.get",          // confirms what was read before
    b"pull.application.config.get", // opens a channel and tells its key
    b"pull.config.get",             // opens a channel and tells its key
];
