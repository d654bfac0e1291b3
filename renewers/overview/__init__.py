"""What the pages of the dashboard show: read-only looks that stay short with a million rows, and figures kept ready."""
