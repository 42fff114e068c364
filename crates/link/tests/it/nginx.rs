//! The outer TLS ended by a real nginx.
