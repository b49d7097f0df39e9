"""The bytes of a value: what the tags and codes say. A tag lies beside the bytes, a code in them."""

# The tag of a value, or of the whole of a container.
cdef enum:
    NOTHING = 0         # zeros are no value
    NONE = 1
    FALSE = 2
    TRUE = 3
    INT = 4             # 0 to 8 bytes: two's complement, little-endian, as few as hold it
    BIG_INT = 5         # the same, more than 8
    FLOAT = 6           # 8 bytes, little-endian
    ASCII = 7
    UTF8 = 8
    SURROGATES = 9      # a string with lone surrogates, as UTF-8 would have them
    BYTES = 10
    PACKED = 11         # MessagePack, with the codes below
    ARRAY = 12          # see arrays.py
    TYPED = 13          # MessagePack by msgspec, of a type that is not told
    PICKLE = 14

# The code of an extension in MessagePack.
cdef enum:
    CODE_TUPLE = 1      # an array of MessagePack
    CODE_SET = 2
    CODE_FROZENSET = 3
    CODE_BYTEARRAY = 4  # its bytes
    CODE_BIG_INT = 5    # as BIG_INT
    CODE_SURROGATES = 6
    CODE_FIRST = 16     # an array of what the object is made of: see extensions.py

# Containers within containers. What is nested deeper is refused both ways, so that neither a list
# that contains itself nor a hostile file exhausts the C stack.
cdef enum:
    DEEPEST = 200
