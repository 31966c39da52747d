"""Callers: each takes job after job through Reserve, perhaps Extend, and Commit, Release or nothing, on
two servers, repeats until it has an answer for good, and writes down what it asked and was told.

All times are of one clock, this machine's, which is also the database's.
"""
import random
import threading
import time

import grpc

from harness import error_info, quota, service, service_grpc
from history import Answer, Job

PATIENCE_S = 90  # for an answer that is final; longer than any trouble lasts
CALL_S = 5
TTL_MAX_S = 20
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED,
         grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)


class Channels:
    """Connections that last: gRPC connects again by itself."""
    OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50),
               ("grpc.min_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 300)]

    def __init__(self, addresses):
        self.channels = [grpc.insecure_channel(address, self.OPTIONS) for address in addresses]
        self.stubs = [service_grpc.QuotaServiceStub(channel) for channel in self.channels]

    def close(self):
        for channel in self.channels:
            channel.close()


class Caller(threading.Thread):
    def __init__(self, number, seed, tenants, addresses, over):
        super().__init__(name=f"caller-{number}", daemon=True)
        self.number, self.tenants, self.over = number, tenants, over
        self.random = random.Random(f"{seed} caller {number}")
        self.channels = Channels(addresses)
        self.jobs, self.calls, self.failure = [], 0, None
        self.seed = seed

    def run(self):
        try:
            while not self.over.is_set():
                self.story()
        except BaseException as error:  # told by whoever joins
            self.failure = error
            raise
        finally:
            self.channels.close()

    def ask(self, method, request, first=None):
        """Repeats until the answer is final. None: it stayed away."""
        began = time.time()
        first = first or began
        answer = Answer(first, began, 0, server=self.random.randrange(len(self.channels.stubs)))
        while True:
            answer.asked = time.time()
            self.calls += 1
            try:
                answer.reply = getattr(self.channels.stubs[answer.server], method)(
                    request, timeout=CALL_S)
                answer.told = time.time()
                return answer
            except grpc.RpcError as error:
                info = None
                try:
                    info = error_info(error)
                except Exception:  # of the transport: it has no words of the server
                    pass
                effect = info.metadata["effect"] if info else "unknown"
                if error.code() not in AGAIN and not (info is None) and \
                        error.code() != grpc.StatusCode.INTERNAL:
                    answer.told, answer.reason, answer.text = time.time(), info.reason, error.details()
                    return answer
                answer.doubts += effect != "definite"
                answer.text = f"{error.code().name} {info.reason if info else ''}: {error.details()}"
            if time.time() - began > PATIENCE_S:
                answer.told = time.time()
                answer.reason = "STUCK"
                return answer
            answer.server = (answer.server + self.random.randrange(2)) % len(self.channels.stubs)
            time.sleep(self.random.uniform(0.005, 0.05))

    def story(self):
        chance = self.random
        tenant = chance.choice(self.tenants)
        job = Job(f"{self.seed}-{self.number}-{len(self.jobs)}", tenant.name)
        job.units = chance.randint(1, tenant.units_max)
        self.jobs.append(job)
        request = service.ReserveRequest(tenant=tenant.name, job_id=job.name, brief=chance.random() < 0.3,
                                         amounts=[quota.Amount(meter="tokens", units=job.units)])
        request.ttl.FromMilliseconds(chance.choice((300, 1000, 3000, TTL_MAX_S * 1000)))
        if chance.random() < 0.05:
            threading.Thread(target=self.duplicate, args=(request,), daemon=True).start()
        job.reserve = self.ask("Reserve", request)
        if job.reserve.reply is None or not job.reserve.reply.reservation_id:
            if job.reserve.reply is not None:  # REJECT: no hurry
                time.sleep(chance.uniform(0, 0.02))
            return
        self.finish(job, tenant)

    def duplicate(self, request):
        """The same request once more, at the same time, of which nobody hears."""
        try:
            self.channels.stubs[-1].Reserve(request, timeout=CALL_S)
        except (grpc.RpcError, ValueError):
            pass

    def pause(self, longest):
        self.over.wait(self.random.uniform(0, longest))

    def finish(self, job, tenant):
        chance, reservation = self.random, job.reserve.reply.reservation_id
        self.pause(0.2 if chance.random() < 0.9 else 4)
        while chance.random() < 0.2:
            request = service.ExtendRequest(tenant=tenant.name, reservation_id=reservation)
            request.ttl.FromMilliseconds(chance.choice((500, 2000, TTL_MAX_S * 1000)))
            answer = self.ask("Extend", request)
            job.extends.append(answer)
            if answer.reply is None:
                break
            reservation = answer.reply.reservation_id
            self.pause(0.5)
        end = chance.random()
        if end < 0.1:
            return  # it expires
        job.ending = time.time()
        if end < 0.25:
            job.release = self.ask("Release", service.ReleaseRequest(
                tenant=tenant.name, job_id=job.name, reservation_id=reservation), job.ending)
            return
        job.by_job = chance.random() < 0.15
        job.actual = tenant.actual(chance, job.units)
        job.commit = self.ask("Commit", service.CommitRequest(
            tenant=tenant.name, job_id=job.name, brief=chance.random() < 0.3,
            reservation_id="" if job.by_job else reservation,
            actual=[service.ActualAmount(meter="tokens", units=job.actual, overrun=tenant.overrun)]),
            job.ending)


class Watcher(threading.Thread):
    """The events of one tenant, on one server after the other, resumed wherever a stream ends."""

    def __init__(self, tenant, addresses):
        super().__init__(name=f"watch-{tenant}", daemon=True)
        self.tenant, self.channels = tenant, Channels(addresses)
        self.events, self.faults, self.last, self.over, self.stream = [], [], 0, False, None

    def run(self):
        turn = 0
        while not self.over:
            turn += 1
            try:
                self.stream = self.channels.stubs[turn % len(self.channels.stubs)].Watch(
                    service.WatchRequest(tenant=self.tenant, after_seq=self.last))
                for frame in self.stream:
                    self.take(frame)
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.INTERNAL):
                    self.faults.append(f"{self.tenant}: {error.code().name} {error.details()}")
                time.sleep(0.05)

    def take(self, frame):
        if frame.HasField("event") or frame.HasField("progress"):
            if frame.prev_seq != self.last:
                self.faults.append(f"{self.tenant}: after {self.last} came a frame behind {frame.prev_seq}")
            self.last = frame.seq
        if frame.HasField("event"):
            self.events.append(frame.event.seq)

    def end(self):
        self.over = True
        if self.stream:
            self.stream.cancel()
        self.join(10)
        self.channels.close()
