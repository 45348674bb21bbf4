//! Deployments: clients, runners, servers and time at once, calls that fail, and servers that are killed. Whatever
//! happens, an accepted deployment ends once; of an application never two run, and they run in the order of
//! acceptance; a log is what its runner appended, whole; an archive is there as long as it is needed, and then goes;
//! and a runner that comes too late changes nothing.

mod answers;
pub(crate) mod deploying_run;
pub(crate) mod ledger;
pub(crate) mod moves;
mod sequence_servers;
