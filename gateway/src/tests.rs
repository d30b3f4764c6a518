//! The edge in front of a peer that plays a service: everything but the socket.

mod ground;
mod grpc;
mod own;
mod page;
mod rest;
mod streams;
