"""What can go wrong with confirmations. Each class has a stable `code`; its docstring's first line is its sentence."""


class ConfirmationsError(Exception):
    """Something about confirmations was refused."""

    code = "confirmations_error"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])


class ConfirmationNotFound(ConfirmationsError):
    """There is no such confirmation, or it is not yours."""

    code = "confirmation_not_found"


class SignerNotFound(ConfirmationsError):
    """There is no such signer."""

    code = "signer_not_found"


class NoNetwork(ConfirmationsError):
    """No network with a contract and a signer is set up (`manage.py deploy_registry`)."""

    code = "no_network"


class LeaseLost(ConfirmationsError):
    """Another one reads this contract."""

    code = "lease_lost"


# ------------------------------------------------------------------------------------------------ nodes
class NodeError(ConfirmationsError):
    """A node could not be asked, or its answer could not be understood."""

    code = "node_error"


class NodeUnreachable(NodeError):
    """A node did not answer."""

    code = "node_unreachable"


class NodeNonsense(NodeError):
    """A node's answer is none of JSON-RPC."""

    code = "node_nonsense"


class NodeRefused(NodeError):
    """A node answered with an error. `number`: its code, or the status of HTTP."""

    code = "node_refused"

    def __init__(
        self, number: int | None, message: str, data: object = None, *, retry_after: float | None = None
    ) -> None:
        super().__init__(message or f"error {number}")
        self.number = number
        self.message = message
        self.data = data
        self.retry_after = retry_after  # seconds


class BatchRefused(NodeRefused):
    """A node refused a request with many questions as a whole; it says nothing of any of them."""

    code = "node_refused_batch"


class BackPressure(NodeError):
    """A node takes no transaction just now; the same bytes again, later."""

    code = "node_busy"


class WrongChain(NodeError):
    """The node is of another chain than it should be."""

    code = "wrong_chain"


class NoContract(NodeError):
    """There is no code at the address of the contract."""

    code = "no_contract"


# ------------------------------------------------------------------------------------------------ keys
class KeyTrouble(ConfirmationsError):
    """A key was not used."""

    code = "key_error"


class KeyUnreadable(KeyTrouble):
    """A key cannot be read, and trying again does not help."""

    code = "key_unreadable"


class KeyUnavailable(KeyTrouble):
    """Who holds the key cannot be asked just now."""

    code = "key_unavailable"


class KeyRefuses(KeyTrouble):
    """A transaction lies outside of what the key is for."""

    code = "key_refuses"
