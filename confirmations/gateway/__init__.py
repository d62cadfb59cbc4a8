"""The only door to the outside: nodes of a chain, and keys that AWS keeps. Services do not know it, nor it them."""
