"""`rhythmd report`: from a recording, or from what a recorder kept, to a page for a clinician."""
