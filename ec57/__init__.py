"""Scoring of ECG analysers by the rules of ANSI/AAMI EC57 (IEC 60601-2-47), as the WFDB programs apply them.

bxb compares beat by beat, rxr run by run, epicmp episode by episode; sumstats pools records. Pure Python; nothing of
rhythmd is imported, so that the package can be used and copied alone.
"""
