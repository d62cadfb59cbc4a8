"""Confirmations in the admin: what goes on chain and how far it is, who signs it, and what was read of it."""

from confirmations.admin import confirmations, contracts, networks, signers, transactions

__all__ = ["confirmations", "contracts", "networks", "signers", "transactions"]
