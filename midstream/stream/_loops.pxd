# What a character is. Words and numbers run on; a glyph (a sign of a script written without
# spaces) and punctuation are tokens of one character.
cdef enum:
    LETTER
    DIGIT
    SPACE
    NEWLINE
    GLYPH
    MARK
    STRUCTURE
    NONE

cdef int classify(Py_UCS4 c) noexcept
