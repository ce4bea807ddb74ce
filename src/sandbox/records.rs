//! What the portal stores: a handful of believable records.

use std::collections::{BTreeMap, HashMap};

use super::answer::ApiError;
use super::value::Value;

/// Everything stored.
#[derive(Debug)]
pub(super) struct Records {
    /// Deals by id; `None` marks a deleted one.
    pub(super) deals: BTreeMap<i64, Value>,
    /// The id of the last deal.
    pub(super) last_deal: i64,
    /// The id of the last comment to a task.
    pub(super) last_comment: i64,
    /// The id of the last task of v3.
    pub(super) last_task: i64,
    /// Files that were uploaded.
    pub(super) uploads: Vec<Value>,
    /// v3: answers kept for an `Idempotency-Key`, with the hash of the body.
    pub(super) idempotent: HashMap<String, (String, Value)>,
    /// Verdicts of the auth layer that the portal has cached, by token.
    pub(super) remembered: HashMap<String, ApiError>,
}

impl Records {
    pub(super) fn new() -> Self {
        let deals = (1..=DEALS).map(|id| (id, deal(id, &format!("Deal {id}")))).collect();
        Self {
            deals,
            last_deal: DEALS,
            last_comment: 100,
            last_task: 500,
            uploads: Vec::new(),
            idempotent: HashMap::new(),
            remembered: HashMap::new(),
        }
    }

    /// Adds a deal with these fields; the oldest additions go when there are too many.
    pub(super) fn add_deal(&mut self, fields: &Value) -> i64 {
        self.last_deal += 1;
        let mut record = deal(self.last_deal, "");
        for (name, value) in fields.entries() {
            record.set(&name.to_ascii_uppercase(), value.clone());
        }
        self.deals.insert(self.last_deal, record);
        if self.deals.len() > DEALS_MAX {
            self.deals.pop_first();
        }
        self.last_deal
    }
}

fn deal(id: i64, title: &str) -> Value {
    Value::map([
        ("ID", id.to_string().into()),
        ("TITLE", title.into()),
        ("STAGE_ID", "NEW".into()),
        ("OPPORTUNITY", format!("{}.00", id * 100).into()),
        ("CURRENCY_ID", "EUR".into()),
        ("COMPANY_ID", Value::Null),
        ("CONTACT_ID", "1".into()),
        ("ASSIGNED_BY_ID", "1".into()),
        ("COMMENTS", "50% <b>off</b> & more".into()),
    ])
}

/// Three pages, the last of them not full.
const DEALS: i64 = 120;
const DEALS_MAX: usize = 20_000;
