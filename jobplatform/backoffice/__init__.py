"""What the admin pages of all apps are built from: read-only pages, bounded lists, markup, links between subjects."""
