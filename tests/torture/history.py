"""What callers write down: a job, and what each of its calls came to. Times as time.time()."""
import dataclasses


@dataclasses.dataclass
class Answer:
    """What one call, with its repeats, came to."""
    first: float                    # when it was asked first
    asked: float                    # when the call that was answered for good was asked
    told: float                     # when that answer was here
    reply: object = None            # of OK
    reason: str = ""                # of an error that is final
    text: str = ""
    doubts: int = 0                 # answers before it that left open whether it had happened
    server: int = 0


@dataclasses.dataclass
class Job:
    name: str
    tenant: str
    units: int = 0
    reserve: Answer = None
    extends: list = dataclasses.field(default_factory=list)
    commit: Answer = None
    actual: int = 0
    by_job: bool = False
    release: Answer = None
    ending: float = 0               # when somebody asked first to end it
    stuck: str = ""
