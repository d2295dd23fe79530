//! The state of a container, as a runtime gives it to a hook.

use std::{collections::HashMap, path::PathBuf};

use oci_spec::runtime::{ContainerState, State};
use serde::{Deserialize, Serialize};

use super::Error;

/// A container that comes to be, or has gone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Container {
    /// Its name, unique for one runtime's root.
    pub id: String,
    /// Its first process, as this process knows it; 0 when it is gone.
    pub pid: i32,
    /// Whether it is.
    pub is_gone: bool,
    /// Its bundle's directory.
    pub bundle: PathBuf,
    /// Its annotations.
    pub annotations: HashMap<String, String>,
}

impl Container {
    /// Reads the state that a runtime writes to a hook's standard input.
    ///
    /// # Errors
    /// If it is none.
    pub fn from_state(text: &[u8]) -> Result<Self, Error> {
        let wrong = |error: serde_json::Error| Error::State(error.to_string());
        let value: serde_json::Value = serde_json::from_slice(text).map_err(wrong)?;
        // The library takes a container without a status for one that has stopped.
        if value.get("status").is_none() {
            return Err(Error::State("it has no status".to_owned()));
        }
        let state: State = serde_json::from_value(value).map_err(wrong)?;
        if state.id().is_empty() {
            return Err(Error::State("it names no container".to_owned()));
        }
        let pid = state.pid().unwrap_or(0);
        let is_gone = *state.status() == ContainerState::Stopped;
        if !is_gone && pid <= 0 {
            return Err(Error::State("it names no process".to_owned()));
        }
        Ok(Self {
            id: state.id().clone(),
            pid,
            is_gone,
            bundle: state.bundle().clone(),
            annotations: state.annotations().clone().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states_of_runc_and_crun_are_read() {
        let runc = br#"{"ociVersion":"1.0.2-dev","id":"h1","status":"creating","pid":14122,"bundle":"/b","annotations":{"a":"b"}}"#;
        let container = Container::from_state(runc).unwrap();
        assert_eq!((container.id.as_str(), container.pid), ("h1", 14122));
        assert_eq!(container.annotations["a"], "b");
        let crun = br#"{"ociVersion":"1.0","id":"h1","pid":16610,"root":"rootfs","bundle":"/b","status":"created"}"#;
        assert_eq!(Container::from_state(crun).unwrap().pid, 16610);
        let gone = br#"{"ociVersion":"1.0.2-dev","id":"h1","status":"stopped","bundle":"/b"}"#;
        assert!(Container::from_state(gone).unwrap().is_gone);
    }

    #[test]
    fn what_is_no_state_is_refused() {
        assert!(Container::from_state(b"").is_err());
        assert!(Container::from_state(b"{}").is_err());
        assert!(Container::from_state(br#"{"id":"a","status":"creating","pid":0}"#).is_err());
    }
}
