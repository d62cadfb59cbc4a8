"""The platform's settings, with the Content-Security-Policy whatever the middleware of the day."""

from jobplatform.settings import *  # noqa: F403 - all of them
from jobplatform.settings import MIDDLEWARE

CONTENT_SECURITY = "jobplatform.api.middleware.ContentSecurity"

if CONTENT_SECURITY not in MIDDLEWARE:
    MIDDLEWARE = [CONTENT_SECURITY, *MIDDLEWARE]
