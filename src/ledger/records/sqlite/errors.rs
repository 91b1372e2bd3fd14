//! Room `ledger`, SQLite records: what SQLite's answers mean to the stages. The one place that knows its codes.

use rusqlite::{Error, ErrorCode, ffi};

use crate::ledger::RecordsError;

impl From<Error> for RecordsError {
    /// Busy, locked or out of space passes; a constraint or a size speaks of the data; everything else (I/O,
    /// corruption, a row that cannot be read, SQL that does not compile) is broken, because going on would be a guess.
    fn from(error: Error) -> Self {
        match &error {
            Error::SqliteFailure(failure, _) if passes(*failure) => Self::Unavailable(error.to_string()),
            Error::SqliteFailure(failure, _) if speaks_of_data(*failure) => Self::Refused(error.to_string()),
            Error::ToSqlConversionFailure(_) => Self::Refused(error.to_string()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

fn passes(failure: ffi::Error) -> bool {
    let code = matches!(
        failure.code,
        ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::ReadOnly
    );
    // Reported as I/O errors, but nothing was written: no space for the shared index of the WAL, or no memory.
    code || [ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_NOMEM].contains(&failure.extended_code)
}

fn speaks_of_data(failure: ffi::Error) -> bool {
    matches!(failure.code, ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: i32) -> &'static str {
        match RecordsError::from(Error::SqliteFailure(ffi::Error::new(code), None)) {
            RecordsError::Unavailable(_) => "unavailable",
            RecordsError::Refused(_) => "refused",
            RecordsError::Stale(_) => "stale",
            RecordsError::Broken(_) => "broken",
        }
    }

    #[test]
    fn what_passes_what_speaks_of_the_data_and_what_is_broken() {
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_BUSY_SNAPSHOT, ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE]
        {
            assert_eq!(class(code), "unavailable", "{code}");
        }
        for code in [ffi::SQLITE_CONSTRAINT_NOTNULL, ffi::SQLITE_TOOBIG, ffi::SQLITE_MISMATCH] {
            assert_eq!(class(code), "refused", "{code}");
        }
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_MISUSE] {
            assert_eq!(class(code), "broken", "{code}");
        }
    }
}
