//! The edges: sockets, sessions, files and signals. They decide nothing about messages.
