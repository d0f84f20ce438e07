"""Where Unicode 9, whose tables Lucene 8 was built with, differs from the tables of the installed `regex` package.

Measured with single characters against Lucene 8 (U+0080 to U+30FF and U+1F300 to U+1F9FF); elsewhere the installed
tables are used, so letters of scripts that Unicode took up after 2016 may be found here and skipped there. All
constants are the inside of a character class.
"""

from __future__ import annotations

# Pictographs that later versions, or their sets of emoji, no longer count.
PICTOGRAPHS = (
    r"\u00a9\u00ae\u2122\u2388\u2605\u2607-\u260d\u260f\u2610\u2612\u2616\u2617\u2619-\u261c\u261e\u261f\u2621\u2624"
    r"\u2625\u2627-\u2629\u262b-\u262d\u2630-\u2637\u263b-\u263f\u2641\u2643-\u2647\u2654-\u265e\u2661\u2662\u2664\u2667"
    r"\u2669-\u267a\u267c\u267d\u2680-\u2685\u2690\u2691\u2698\u269a\u269d-\u269f\u26a2-\u26a6\u26a8\u26a9\u26ac-\u26af"
    r"\u26b2-\u26bc\u26bf-\u26c3\u26c6\u26c7\u26c9-\u26cd\u26d0\u26d2\u26d5-\u26e8\u26eb-\u26ef\u26f6\u26fb\u26fc"
    r"\u26fe-\u2701\u2703\u2704\u270e\u2710\u2711\u2765-\u2767\u3030\u303d\U0001f322\U0001f323\U0001f394\U0001f395"
    r"\U0001f398\U0001f39c\U0001f39d\U0001f3f1\U0001f3f2\U0001f3f6\U0001f3fb-\U0001f3ff\U0001f4fe\U0001f546-\U0001f548"
    r"\U0001f54f\U0001f568-\U0001f56e\U0001f571\U0001f572\U0001f57b-\U0001f586\U0001f588\U0001f589\U0001f58e\U0001f58f"
    r"\U0001f591-\U0001f594\U0001f597-\U0001f5a3\U0001f5a6\U0001f5a7\U0001f5a9-\U0001f5b0\U0001f5b3-\U0001f5bb"
    r"\U0001f5bd-\U0001f5c1\U0001f5c5-\U0001f5d0\U0001f5d4-\U0001f5db\U0001f5df\U0001f5e0\U0001f5e2\U0001f5e4-\U0001f5e7"
    r"\U0001f5e9-\U0001f5ee\U0001f5f0-\U0001f5f2\U0001f5f4-\U0001f5f9\U0001f6c6-\U0001f6ca\U0001f6d3\U0001f6d4"
    r"\U0001f6e6-\U0001f6e8\U0001f6ea\U0001f6f1\U0001f6f2\U0001f774-\U0001f77f\U0001f7d5-\U0001f7db\U0001f7f1-\U0001f7ff"
    r"\U0001f8b0-\U0001f8bb\U0001f8c0\U0001f8c1\U0001f8d0-\U0001f8d8"
)

# Letters, marks and punctuation of words that came, or became such, later: Lucene skips them.
NOT_YET = (
    r"\u00b8\u02c2-\u02c5\u02d2-\u02d6\u02de\u02df\u02e5-\u02eb\u02ed\u02ef-\u02ff\u0558\u055a-\u055c\u055e-\u0560\u0588"
    r"\u058a-\u058c\u05c8\u05c9\u05ef\u07fd\u0860-\u086a\u0870-\u0887\u0889-\u0891\u0897-\u089f\u08b5\u08be-\u08d3\u09fc"
    r"\u09fe\u0afa-\u0aff\u0b53-\u0b55\u0c04\u0c3c\u0c5c\u0c5d\u0cdc\u0cdd\u0cf3\u0d00\u0d04\u0d3b\u0d3c\u0d81\u0e86\u0e89"
    r"\u0e8c\u0e8e-\u0e93\u0e98\u0ea0\u0ea8\u0ea9\u0eac\u0eba\u0ece\u170d\u1715\u171f\u180f\u1878\u1abf-\u1af0\u1b4c\u1c89"
    r"\u1c8a\u1c90-\u1cba\u1cbd-\u1cbf\u1cf7\u1cfa\u1df6-\u1dfa\u208f\u209d-\u209f\u2c2f\u2c5f"
)

MARKS = r"\u0600-\u0605\u06dd\u070f\u08e2\u1cf2\u1cf3"  # attached to what precedes them, later letters and digits
MID_LETTERS = r"\u02d7"  # between letters part of the word
TAI_DIGITS = r"\u19da"  # treated like letters of the scripts that do not separate words
