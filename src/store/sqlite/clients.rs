//! Who may call, in the one SQLite file and in the small one beside it.

use std::sync::Arc;

use crate::store::clients::Closing;
use crate::store::rows::clients;
use crate::store::{
    ClientKey, ClientRules, ClientStore, KeptClients, Pending, SqliteStore, StateError, StoreError,
};

impl ClientStore for SqliteStore {
    fn clients(&self) -> Pending<'_, KeptClients> {
        Box::pin(async move {
            let (clients, known) = clients::load(&self.pool).await?;
            let said = self.with_closing(Closing::is_there).await?;
            if known && !said {
                // A backup was restored, or somebody removed the file. The database says it, too.
                if let Err(error) = self.with_closing(Closing::make).await {
                    tracing::warn!(%error, "the file that says that there are clients is not made");
                }
            }
            Ok(KeptClients { clients, closed: known || said, lost: said && !known })
        })
    }

    fn add_client<'a>(
        &'a self,
        name: &'a str,
        rules: Option<&'a ClientRules>,
        key: &'a ClientKey,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            // A key in a file that nobody would find again is none.
            self.journal.check_in_place().await?;
            self.with_closing(Closing::make).await?;
            let mut transaction = self.begin().await?;
            clients::add(transaction.connection()?, name, rules, key).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn rotate_key<'a>(
        &'a self,
        name: &'a str,
        key: &'a ClientKey,
        until: Option<u64>,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            self.journal.check_in_place().await?;
            let mut transaction = self.begin().await?;
            clients::rotate(transaction.connection()?, name, key, until).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn remove_client<'a>(&'a self, name: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            self.journal.check_in_place().await?;
            let mut transaction = self.begin().await?;
            clients::remove(transaction.connection()?, name).await?;
            Ok(transaction.commit().await?)
        })
    }
}

impl SqliteStore {
    async fn with_closing<T: Send + 'static>(
        &self,
        work: fn(&Closing) -> Result<T, StateError>,
    ) -> Result<T, StoreError> {
        let closing = Arc::clone(&self.closing);
        let done = tokio::task::spawn_blocking(move || work(&closing)).await;
        Ok(done.map_err(|error| StoreError::Unavailable(error.into()))??)
    }
}
