"""From public recordings to the shipped network: prepare, train, export, report. Not installed on the device."""
