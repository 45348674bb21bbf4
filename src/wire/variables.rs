//! The resource `variable`. Values may be secrets, so none of these types can be printed.

use serde::{Deserialize, Serialize};

/// `{"variable":{…}}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableAnswer {
    pub variable: Variable,
}

/// `{"variables":[…]}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariablesAnswer {
    pub variables: Vec<Variable>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    pub id: String,
    pub name: String,
    pub value: String,
}
