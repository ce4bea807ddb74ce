//! The facts about portals and the inbox, in the one SQLite file.

use crate::config::Endpoint;
use crate::credential::Secret;
use crate::store::rows::{self, facts, inbox};
use crate::store::{
    Arrived, Letter, Pending, Person, Registry, SqliteStore, Store as _, StoreError,
};

impl Registry for SqliteStore {
    fn set_disabled<'a>(&'a self, portal: &'a str, disabled: bool) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            facts::set_disabled(transaction.connection()?, portal, disabled).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn note_install<'a>(
        &'a self,
        portal: &'a str,
        at: u64,
        application_token: Option<&'a Secret>,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            let connection = transaction.connection()?;
            facts::note_install(connection, &self.sealer, portal, at, application_token).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn note_uninstall<'a>(&'a self, portal: &'a str, at: u64) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            facts::note_uninstall(transaction.connection()?, portal, at).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn note_arrival<'a>(
        &'a self,
        portal: &'a str,
        arrived: &'a Arrived,
        endpoint: &'a Endpoint,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            facts::note_arrival(transaction.connection()?, portal, arrived, endpoint).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn note_person<'a>(&'a self, portal: &'a str, person: &'a Person) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            facts::note_person(transaction.connection()?, portal, person).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn remove<'a>(&'a self, portal: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            // First, and not without it: where there is no record, what another store left in the
            // journal is what the next start goes on with.
            self.forget_answers(portal).await?;
            let mut transaction = self.begin().await?;
            rows::remove(transaction.connection()?, portal).await?;
            transaction.commit().await?;
            self.tidy(portal).await;
            Ok(())
        })
    }

    fn put_letter<'a>(&'a self, event: &'a [u8]) -> Pending<'a, i64> {
        Box::pin(async move {
            if inbox::is_full(&self.pool).await? {
                return Err(StoreError::InboxFull);
            }
            let mut transaction = self.begin().await?;
            let id = inbox::put(transaction.connection()?, &self.sealer, event).await?;
            transaction.commit().await?;
            Ok(id)
        })
    }

    fn letters(&self) -> Pending<'_, Vec<Letter>> {
        Box::pin(inbox::letters(&self.pool, &self.sealer))
    }

    fn drop_letter(&self, id: i64) -> Pending<'_, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            inbox::drop_letter(transaction.connection()?, id).await?;
            Ok(transaction.commit().await?)
        })
    }
}
