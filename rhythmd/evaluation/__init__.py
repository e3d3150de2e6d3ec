"""How good rhythmd is on recordings whose truth is known: analyses, scores by the field's rules, reports."""
