//! The formats from outside: what only a whole process can show.

mod memory;
