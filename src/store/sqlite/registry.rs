//! The facts about portals and the inbox, in the one SQLite file.

use crate::config::Endpoint;
use crate::credential::Secret;
use crate::store::{Arrived, Letter, Pending, Person, Registry, SqliteStore, StoreError};

impl Registry for SqliteStore {
    fn set_disabled<'a>(&'a self, _portal: &'a str, _disabled: bool) -> Pending<'a, ()> {
        Box::pin(async { Err(StoreError::Unknown) })
    }

    fn note_install<'a>(
        &'a self,
        _portal: &'a str,
        _at: u64,
        _application_token: Option<&'a Secret>,
    ) -> Pending<'a, ()> {
        Box::pin(async { Err(StoreError::Unknown) })
    }

    fn note_uninstall<'a>(&'a self, _portal: &'a str, _at: u64) -> Pending<'a, ()> {
        Box::pin(async { Err(StoreError::Unknown) })
    }

    fn note_arrival<'a>(
        &'a self,
        _portal: &'a str,
        _arrived: &'a Arrived,
        _endpoint: &'a Endpoint,
    ) -> Pending<'a, ()> {
        Box::pin(async { Err(StoreError::Unknown) })
    }

    fn note_person<'a>(&'a self, _portal: &'a str, _person: &'a Person) -> Pending<'a, ()> {
        Box::pin(async { Err(StoreError::Unknown) })
    }

    fn remove<'a>(&'a self, _portal: &'a str) -> Pending<'a, ()> {
        Box::pin(async { Err(StoreError::Unknown) })
    }

    fn put_letter<'a>(&'a self, _event: &'a [u8]) -> Pending<'a, i64> {
        Box::pin(async { Err(StoreError::Unknown) })
    }

    fn letters(&self) -> Pending<'_, Vec<Letter>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn drop_letter(&self, _id: i64) -> Pending<'_, ()> {
        Box::pin(async { Err(StoreError::Unknown) })
    }
}
