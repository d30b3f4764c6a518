//! Sliding-window rate limits declared by descriptors, decided in Redis, approximated locally without it.
