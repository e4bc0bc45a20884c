//! kube's own client as a second opinion: it sees just what the server holds.
