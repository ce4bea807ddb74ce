//! The CRM: deals that can be added, changed and counted.

use super::answer::ApiError;
use super::methods::Outcome;
use super::portal::Call;
use super::value::Value;

pub(super) fn deal_add(call: &mut Call<'_>, params: &Value) -> Result<Outcome, ApiError> {
    let fields = fields(params)?;
    Ok(Outcome::of(call.inner.records.add_deal(fields)))
}

pub(super) fn deal_get(call: &mut Call<'_>, params: &Value) -> Result<Outcome, ApiError> {
    let deal = call.inner.records.deals.get(&id(params)?).ok_or_else(not_found)?;
    Ok(Outcome::of(deal.clone()))
}

pub(super) fn deal_update(call: &mut Call<'_>, params: &Value) -> Result<Outcome, ApiError> {
    let (id, fields) = (id(params)?, fields(params)?);
    let deal = call.inner.records.deals.get_mut(&id).ok_or_else(not_found)?;
    for (name, value) in fields.entries() {
        deal.set(&name.to_ascii_uppercase(), value.clone());
    }
    Ok(Outcome::of(true))
}

pub(super) fn deal_delete(call: &mut Call<'_>, params: &Value) -> Result<Outcome, ApiError> {
    call.inner.records.deals.remove(&id(params)?).ok_or_else(not_found)?;
    Ok(Outcome::of(true))
}

pub(super) fn deal_fields(_call: &mut Call<'_>, _params: &Value) -> Outcome {
    let field = |kind: &str, read_only: bool| {
        Value::map([
            ("type", kind.into()),
            ("isRequired", false.into()),
            ("isReadOnly", read_only.into()),
        ])
    };
    Outcome::of(Value::map([
        ("ID", field("integer", true)),
        ("TITLE", field("string", false)),
        ("STAGE_ID", field("crm_status", false)),
        ("OPPORTUNITY", field("double", false)),
    ]))
}

/// A page of deals; `filter` understands `ID` with the usual prefixes and equality of any field,
/// `select` and `order[ID]` work (Bitrix24 REST docs, list methods).
pub(super) fn deal_list(call: &mut Call<'_>, params: &Value) -> Outcome {
    let deals = matching(call, params);
    Outcome::page(&deals, params).1
}

/// The newer method: camel case, and the page under `items`.
pub(super) fn item_list(call: &mut Call<'_>, params: &Value) -> Result<Outcome, ApiError> {
    if params.get("entityTypeId").and_then(Value::int).is_none() {
        let text = "Could not find value for parameter {entityTypeId}";
        return Err(ApiError::new(400, "100", text));
    }
    let deals = matching(call, params);
    let (page, mut outcome) = Outcome::page(&deals, params);
    let item = |deal: &Value| {
        let id = deal.get("ID").and_then(Value::int).unwrap_or(0);
        let title = deal.get("TITLE").cloned().unwrap_or(Value::Null);
        Value::map([("id", id.into()), ("title", title), ("entityTypeId", Value::Int(2))])
    };
    outcome.result = Value::map([("items", Value::list(page.iter().map(item)))]);
    Ok(outcome)
}

pub(super) fn contact_list(_call: &mut Call<'_>, params: &Value) -> Outcome {
    let contact = |id: i64| {
        let name = format!("Contact {id}");
        Value::map([("ID", id.to_string().into()), ("NAME", name.into()), ("LAST_NAME", "".into())])
    };
    let contacts: Vec<Value> = (1..=3).map(contact).collect();
    Outcome::page(&contacts, params).1
}

fn matching(call: &Call<'_>, params: &Value) -> Vec<Value> {
    let filter = params.get_any_case("filter").map(Value::entries).unwrap_or_default();
    let select = params.get_any_case("select").map(Value::entries).unwrap_or_default();
    let deals = call.inner.records.deals.values();
    let mut found: Vec<Value> = deals
        .filter(|deal| filter.iter().all(|(key, value)| holds(deal, key, value)))
        .cloned()
        .collect();
    let order = params.get_any_case("order").and_then(|order| order.get_any_case("ID"));
    if order.and_then(Value::text).is_some_and(|order| order.eq_ignore_ascii_case("desc")) {
        found.reverse();
    }
    let wanted = |name: &str| {
        let text = |(_, value): &(String, Value)| value.text().unwrap_or_default();
        select.iter().map(text).any(|wanted| wanted == "*" || wanted.eq_ignore_ascii_case(name))
    };
    if !select.is_empty() {
        for deal in &mut found {
            if let Value::Array(entries) = deal {
                entries.retain(|(name, _)| name == "ID" || wanted(name));
            }
        }
    }
    found
}

/// Whether a record meets one condition: the key is a field behind `>`, `>=`, `<`, `<=`, `=`, `!`.
fn holds(deal: &Value, key: &str, wanted: &Value) -> bool {
    let field = key.trim_start_matches(['>', '<', '=', '!', '%', '@']);
    let operator = key.strip_suffix(field).unwrap_or_default();
    let Some(value) = deal.get_any_case(field) else {
        return true;
    };
    let listed = |value: &Value| wanted.entries().iter().any(|(_, one)| one.text() == value.text());
    match (operator, value.int().zip(wanted.int())) {
        (">", Some((value, wanted))) => value > wanted,
        (">=", Some((value, wanted))) => value >= wanted,
        ("<", Some((value, wanted))) => value < wanted,
        ("<=", Some((value, wanted))) => value <= wanted,
        ("!" | "!=", _) => value.text() != wanted.text(),
        _ if matches!(wanted, Value::Array(_)) => listed(value),
        _ => value.text() == wanted.text(),
    }
}

/// The `id` of a call, in any case.
fn id(params: &Value) -> Result<i64, ApiError> {
    let id = params.get_any_case("id").and_then(Value::int);
    id.ok_or_else(|| ApiError::new(400, "", "ID is not defined or invalid."))
}

fn fields(params: &Value) -> Result<&Value, ApiError> {
    let fields = params.get_any_case("fields").filter(|fields| matches!(fields, Value::Array(_)));
    fields.ok_or_else(|| ApiError::new(400, "", "Parameter 'fields' must be array."))
}

/// The code is an empty string, as the CRM really answers.
fn not_found() -> ApiError {
    ApiError::new(400, "", "Not found")
}
