//! The edge in front of a peer that plays a service: everything but the socket.

mod bodies;
mod ground;
mod grpc;
mod own;
mod page;
mod refused;
mod rest;
mod sockets;
mod streams;
mod talking;
