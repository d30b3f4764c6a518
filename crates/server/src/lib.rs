//! Serves modules: listeners, layers, health, reflection, admin HTTP, telemetry, drain.
