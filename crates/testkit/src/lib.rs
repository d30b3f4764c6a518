//! Real parts for tests: a database per test, a mesh, personas, Envoy, fault proxy, OTLP receiver.
