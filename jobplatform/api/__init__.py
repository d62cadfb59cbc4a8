"""The ground under every app's views: strict JSON in, problems and pages out, idempotent creation.

What the settings name is here. Views are built on `jobplatform.api.views.ApiView`, which cannot be imported from here:
Django REST framework reads the settings while its own views are being defined.
"""

from jobplatform.api.browsable import BrowsableRenderer
from jobplatform.api.parsers import StrictJSONParser
from jobplatform.api.problems import Problem
from jobplatform.api.refusals import exception_handler
from jobplatform.api.renderers import JSONRenderer

__all__ = ["BrowsableRenderer", "JSONRenderer", "Problem", "StrictJSONParser", "exception_handler"]
