//! Room `pipeline`: the one table of what follows from a failure. Translation is pure, so its errors are permanent until
//! someone changes the desk; only the outside world fails "for now". May not wait and may not try again: `retry` does.

use std::time::Duration;

use crate::{
    brokers::BrokerError,
    ledger::{LogError, RecordsError},
    model::ReasonCode,
};

/// Something that went wrong on the road from step 4 to step 11.
#[derive(Clone, Copy, Debug)]
pub enum Failure<'a> {
    /// An event could not be read, identified, translated or checked.
    Event(ReasonCode),
    /// The records refused or failed.
    Records(&'a RecordsError),
    /// The intake log could not be read.
    Log(&'a LogError),
    /// The crash note could not be written.
    CrashNote(&'a std::io::Error),
    /// A broker took only part of what it was offered.
    Broker(&'a BrokerError),
    /// A broker refuses one event for good.
    RefusedEvent,
    /// The translation threads are gone: a defect of ours.
    Threads,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// This event is a dead letter, with its reason; the endpoint goes on.
    DeadLetter,
    /// The batch is halved until one event stands alone; that one is a dead letter.
    Halve,
    /// This event is a dead letter of this broker; the broker goes on.
    PublicationDeadLetter,
    /// The stage waits with backoff; nothing is dropped and the order is kept.
    Wait,
    /// The same, and a person must do something.
    WaitLoudly,
    /// The process stops and recovers from disk at start.
    Stop,
}

impl Failure<'_> {
    /// The table.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Event(_) => Remedy::DeadLetter,
            Self::Records(RecordsError::Refused(_)) => Remedy::Halve,
            Self::RefusedEvent => Remedy::PublicationDeadLetter,
            // What is stale was worked by someone else: the stage reads its cursor again before it goes on.
            Self::Records(RecordsError::Unavailable(_) | RecordsError::Stale(_))
            | Self::Log(LogError::Unavailable(_))
            | Self::CrashNote(_)
            | Self::Broker(BrokerError::Unavailable(_) | BrokerError::Busy { .. }) => Remedy::Wait,
            Self::Broker(BrokerError::RefusesEveryone(_)) => Remedy::WaitLoudly,
            // Retention never passes a cursor: an entry pruned before it was worked means half a ledger.
            Self::Records(RecordsError::Broken(_)) | Self::Log(LogError::Pruned { .. }) | Self::Threads => {
                Remedy::Stop
            }
        }
    }

    /// The failure as the end of a step that has nothing left to halve or set aside.
    pub fn ends_step(&self, what: impl std::fmt::Display) -> StageError {
        match self.remedy() {
            Remedy::Wait => StageError::Wait(what.to_string()),
            Remedy::WaitLoudly => StageError::WaitLoudly(what.to_string()),
            Remedy::Stop | Remedy::Halve | Remedy::DeadLetter | Remedy::PublicationDeadLetter => {
                StageError::Fatal(what.to_string())
            }
        }
    }
}

/// Why a step of a stage did not go through. Nothing of the step was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The outside world fails for now.
    #[error("waiting: {0}")]
    Wait(String),
    /// The same, and it says how long at least.
    #[error("waiting for {at_least:?} or more: {what}")]
    WaitAtLeast {
        /// What fails.
        what: String,
        /// The next try comes no earlier.
        at_least: Duration,
    },
    /// The outside world fails for a part of the work; what is new need not wait for that.
    #[error("waiting: {0}")]
    WaitInPart(String),
    /// Another process has the lease now, as far as is known, or another server the ledger: what this one holds is taken up again.
    #[error("what is held is taken up again: {0}")]
    Fenced(String),
    /// The outside world refuses us until someone changes that.
    #[error("waiting until someone changes this: {0}")]
    WaitLoudly(String),
    /// The process must stop and recover at start.
    #[error("stopping: {0}")]
    Fatal(String),
}

impl From<RecordsError> for StageError {
    fn from(error: RecordsError) -> Self {
        Failure::Records(&error).ends_step(&error)
    }
}

impl From<LogError> for StageError {
    fn from(error: LogError) -> Self {
        Failure::Log(&error).ends_step(&error)
    }
}

impl From<BrokerError> for StageError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Busy { leave_alone, .. } => {
                Self::WaitAtLeast { what: error.to_string(), at_least: leave_alone }
            }
            error => Failure::Broker(&error).ends_step(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryNumber;

    #[test]
    fn the_table_of_the_design() {
        let text = || "x".to_owned();
        let io = std::io::Error::other("x");
        let busy = BrokerError::Busy { reason: text(), leave_alone: Duration::from_secs(5) };
        let table = [
            (Failure::Event(ReasonCode::Unreadable), Remedy::DeadLetter),
            (Failure::Event(ReasonCode::MappingFailed), Remedy::DeadLetter),
            (Failure::Event(ReasonCode::ContractBroken), Remedy::DeadLetter),
            (Failure::Event(ReasonCode::CrashedTheTranslator), Remedy::DeadLetter),
            (Failure::Records(&RecordsError::Refused(text())), Remedy::Halve),
            (Failure::Records(&RecordsError::Unavailable(text())), Remedy::Wait),
            (Failure::Records(&RecordsError::Stale(text())), Remedy::Wait),
            (Failure::Records(&RecordsError::Broken(text())), Remedy::Stop),
            (Failure::Log(&LogError::Unavailable(text())), Remedy::Wait),
            (Failure::Log(&LogError::Pruned { first: EntryNumber(9) }), Remedy::Stop),
            (Failure::CrashNote(&io), Remedy::Wait),
            (Failure::Broker(&BrokerError::Unavailable(text())), Remedy::Wait),
            (Failure::Broker(&busy), Remedy::Wait),
            (Failure::Broker(&BrokerError::RefusesEveryone(text())), Remedy::WaitLoudly),
            (Failure::RefusedEvent, Remedy::PublicationDeadLetter),
            (Failure::Threads, Remedy::Stop),
        ];
        for (failure, remedy) in table {
            assert_eq!(failure.remedy(), remedy, "{failure:?}");
        }
    }

    #[test]
    fn a_step_ends_as_the_table_says() {
        let text = || "x".to_owned();
        assert!(matches!(StageError::from(RecordsError::Unavailable(text())), StageError::Wait(_)));
        assert!(matches!(StageError::from(RecordsError::Broken(text())), StageError::Fatal(_)));
        assert!(matches!(StageError::from(BrokerError::RefusesEveryone(text())), StageError::WaitLoudly(_)));
        let busy = BrokerError::Busy { reason: text(), leave_alone: Duration::from_secs(5) };
        let StageError::WaitAtLeast { at_least, .. } = StageError::from(busy) else {
            panic!("does not wait")
        };
        assert_eq!(at_least, Duration::from_secs(5));
    }
}
