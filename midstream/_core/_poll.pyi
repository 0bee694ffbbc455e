from typing_extensions import disjoint_base

@disjoint_base
class Poll:
    @property
    def stopped(self) -> bool: ...
    def stop(self) -> None: ...
