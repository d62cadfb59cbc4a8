"""The Django project: settings, routes, processes."""
