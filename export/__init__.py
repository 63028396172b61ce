"""Programs that export and publish models. Each exporter reloads its files in a fresh process and compares outputs."""
