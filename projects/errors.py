"""What can go wrong with projects and keys. Each class has a stable `code`; its docstring is its sentence."""


class ProjectsError(Exception):
    """The request about a project was refused."""

    code = "projects_error"
    field = ""

    def __init__(self, message: str = "", **about: object) -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])
        self.about = about


class ProjectNotFound(ProjectsError):
    """There is no such project, or it is not yours."""

    code = "not_found"


class KeyNotFound(ProjectsError):
    """There is no such key, or it is not yours."""

    code = "not_found"


class SlugTaken(ProjectsError):
    """Another project has this slug."""

    code = "slug_taken"
    field = "/slug"


class UnknownScope(ProjectsError):
    """A scope is asked for that does not exist."""

    code = "unknown_scope"
    field = "/scopes"


class ScopeNotHeld(ProjectsError):
    """A key can be given only the scopes that its issuer holds."""

    code = "scope_not_held"
    field = "/scopes"


class WeightNotHeld(ProjectsError):
    """A project that a key creates weighs no more than the key's own."""

    code = "weight_not_held"
    field = "/weight"


class KeyEnded(ProjectsError):
    """The key that asks was revoked, or has expired, while it asked."""

    code = "api_key_revoked"


class AlreadyExpired(ProjectsError):
    """The key would expire before it can be used."""

    code = "already_expired"
    field = "/expires_at"
