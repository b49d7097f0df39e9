from typing_extensions import disjoint_base

@disjoint_base
class Moment: ...

@disjoint_base
class Lease: ...
