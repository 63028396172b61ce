"""Programs that export and publish models, in a checkout; `bit-export` runs the same in an installed package."""
