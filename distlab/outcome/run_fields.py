"""The fields of a run's record: type, unit and meaning, as ``summary.json`` holds them.

What is null says when and why. A field that a run gets is added here, and to docs/records.md by
``make records``.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, WithJsonSchema

from distlab.outcome.caveats import Code

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Seconds = NonNegativeFloat


class Strict(BaseModel):
    """No field may be missing or added, and no number be NaN or infinite."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class Open(Strict):
    """Fields may be added."""

    model_config = ConfigDict(extra="allow")


class Cores(Strict):
    """The cores that rank 0 may use (:class:`distlab.machine.cores.Cores`)."""

    machine: Positive
    """Cores that the machine has online."""
    allowed: list[Count]
    """Numbers of those that the process may run on: its affinity and ``cpuset``."""
    physical: Positive
    """How many these are where threads that share a core (SMT) count once."""
    quota: float | None
    """How many cores' time control groups grant; null if they don't bound it."""
    governor: str | None
    """How Linux chooses the clock rate, several by commas; null where it can't be read."""
    turbo: bool | None
    """Whether cores may run above their nominal rate; null where it can't be read."""


class Resources(Open):
    """What rank 0 really uses, read back in its process; a backend may say more than this."""

    framework_version: str
    """Version of the framework."""
    device_name: str
    """The processor or GPU."""
    threads: int
    """Intra-op threads in effect."""
    inter_op_threads: int
    """Inter-op threads in effect."""
    tf32: bool
    """Whether float32 products may be rounded to TF32."""
    collectives: str
    """What exchanges gradients: ``gloo``, ``nccl`` ..., or ``none``."""
    python: str
    """Path of the interpreter."""
    cpus: Positive
    """Cores of the machine."""
    cores: Cores
    cpu_affinity: list[int]
    """Numbers of the cores that the process may run on."""
    nice: int
    """Niceness of the process."""
    kept_out: dict[str, str]
    """Variables of Ray's environment that were kept from the process, as they stood there."""
    inherited: dict[str, str]
    """Variables of Ray's environment that reached it and may change figures."""
    python_version: str
    """Version of Python."""
    numpy_version: str
    """Version of NumPy."""
    distlab_version: str
    """Version of distlab."""
    distlab_code: str
    """Fingerprint of the distlab that the process runs."""
    packages_sha256: Sha256 | None = None
    """SHA-256 of ``packages.txt``: what the workers' Python has installed; null in runs
    of before."""
    matrix_product_flops_per_s: float | None
    """Floating-point operations a second of the best float32 matrix product; null if unknown."""
    matrix_product_library: str | None
    """The library that reached it; null if unknown."""
    matrix_products: dict[str, float]
    """The same of each library in the process, in floating-point operations a second."""
    nvidia_libraries: dict[str, str] | None = None
    """Versions of ``cublas``, ``cudart``, ``cudnn`` and ``nccl``, of those that are loaded; null
    or missing on CPUs and in runs of before."""
    tuned: list[str] | None = None
    """What is done otherwise than in the framework's tutorials; null or missing if unknown."""
    compiled_from_cache: bool | None = None
    """Whether compiled steps of an earlier run were found; null or missing if nothing compiles."""
    cold_compile_s: NonNegativeFloat | None = None
    """Seconds that compiling them took when it was done; null or missing if unknown."""


class Rank(Strict):
    """Where a rank was, and what it ran."""

    rank: Count
    """Its number."""
    host: str
    """Name of its host."""
    address: str | None
    """Address at which other ranks reach it; null if it was not told."""
    interface: str | None
    """The network interface over which they do; null if it was not found."""
    device_name: str | None
    """Its processor or GPU; null if the rank never told."""
    framework_version: str | None
    """Version of its framework; null if the rank never told."""
    python_version: str | None
    """Version of its Python; null if the rank never told."""
    numpy_version: str | None
    """Version of its NumPy; null if the rank never told."""
    distlab_version: str | None
    """Version of its distlab; null if the rank never told."""
    log: str
    """The file on its host to which it printed."""


class Gpu(Strict):
    """The GPU of a rank, as NVML told of it at both ends of each window; null where it does not."""

    rank: Count
    """The rank."""
    host: str
    """Name of its host."""
    name: str | None
    """Its maker's name; null where NVML does not tell."""
    uuid: str | None
    """What tells it from any other; null where NVML does not tell."""
    pci_address: str | None
    """Where it is in its host; null where NVML does not tell."""
    driver: str | None
    """Version of NVIDIA's driver; null where NVML does not tell."""
    mig: bool | None
    """Whether it is cut into slices; null where NVML does not tell."""
    power_limit_w: float | None
    """Power in watts to which it is held; null where NVML does not tell."""
    max_sm_mhz: int | None
    """Highest clock rate of its cores in MHz; null where NVML does not tell."""
    sm_mhz_low: int | None
    """Lowest clock rate that was seen; at the ends of windows a GPU idles; null where NVML does
    not tell."""
    sm_mhz_high: int | None
    """Highest clock rate that was seen; null where NVML does not tell."""
    memory_mhz: int | None
    """Highest clock rate of its memory that was seen, in MHz; null where NVML does not tell."""
    mean_w: float | None
    """Mean power over the windows in watts, by its energy counter; null where NVML does not
    tell."""
    celsius_high: int | None
    """Highest temperature that was seen, in degrees Celsius; null where NVML does not tell."""
    utilisation_high: float | None
    """Greatest share of a moment in which any kernel ran; null where NVML does not tell."""
    memory_bytes_high: int | None
    """Most of its memory that was taken, by all processes, in bytes; null where NVML does not
    tell."""
    clock_reasons: list[str]
    """Why its clocks were as they were, in NVML's words; at the ends of windows also ``idle``."""
    thermal_s: NonNegativeFloat | None
    """Seconds of the windows in which heat held its clocks down; null where NVML does not tell."""
    power_capped_s: NonNegativeFloat | None
    """Seconds of the windows in which its power limit did; null where NVML does not tell."""
    other_processes: int | None
    """Most other processes with a context on it: idle ones, as kept workers of a study, too; null
    where NVML does not tell."""
    busy_with_others: float | None
    """Greatest share of its time that other processes had; null where NVML does not tell."""


class Load(Strict):
    """The load of the noisiest machine during the timed windows, as averages."""

    cores: Positive
    """Cores of the machine that the run may use."""
    own_cores: float
    """How many of them were busy with the run's workers."""
    other_cores: float
    """How many of them were busy with all else."""
    steal: float
    """CPU time that the hypervisor gave to other machines, as a share of these cores' time."""
    too_noisy: str | None
    """Why the figures are not to be believed; null if they are."""
    uncertain_cores: float
    """What the clock's tick leaves open of ``other_cores``."""
    throttled_cores: NonNegativeFloat
    """How many cores' work control groups stopped on average, because a quota was used up."""


class Caveat(Strict):
    """What speaks against a run's figures though its checks passed; docs/studies.md lists them."""

    code: Annotated[
        Code,
        Field(strict=False),
        WithJsonSchema({"enum": [str(code) for code in Code], "type": "string"}),
    ]
    """What it is; all but ``unlike_hosts``, ``shared_cores``, ``restarted``, ``power_capped`` and
    ``short`` keep the run out of rankings."""
    detail: str
    """What was found, in words."""


class StepTime(Strict):
    """The time of a step in milliseconds, on the slowest rank of each epoch.

    Percentiles are over spans, of the mean step time in a span; null where they would say nothing
    of steps: with fewer spans than are named, or where an epoch is one span.
    """

    mean: NonNegativeFloat
    """Mean over all steps."""
    p50: NonNegativeFloat | None
    """Median, of at least 10 spans; else null."""
    p95: NonNegativeFloat | None
    """95th percentile, of at least 20 spans; else null."""
    p99: NonNegativeFloat | None
    """99th percentile, of at least 100 spans; else null."""
    spans: Positive
    """How many spans there are."""
    span_steps: Positive
    """Steps of a span."""


class LossCurve(Strict):
    """At most 100 means of consecutive losses."""

    step: list[Positive]
    """The last step of each part, from 1, over all epochs."""
    loss: list[float]
    """Its mean training loss in nats."""


class EvaluationPoint(Strict):
    """One evaluation of the model in the course of its training."""

    step: Positive
    """After how many optimizer steps of the run."""
    seconds: Seconds
    """Seconds of training until then, evaluations not counted."""
    test_accuracy: Share | None
    """Share of the test samples that are classified rightly; null of noise."""
    test_loss: float
    """Mean test loss in nats."""


class Stretch(Strict):
    """What one group of worker processes did of a run."""

    group: str
    """Id of the group."""
    world_size: Positive
    """Its number of workers."""
    hosts: list[str]
    """Names of its hosts, each once, in the order of their first ranks."""
    first_epoch: Positive
    """The epoch that it began with, from 1."""
    epochs: Count
    """How many of the epochs that count it trained."""


class Size(Strict):
    """What a run trained on one number of workers."""

    world_size: Positive
    """Number of workers."""
    epochs: Positive
    """How many of the epochs that count were trained on so many."""
    throughput_samples_per_s: NonNegativeFloat
    """Samples a second of the whole job in their windows."""
    efficiency: float | None
    """Throughput for each worker over that at the run's least number; null for that itself."""


class AllReduce(Strict):
    """How long averaging an array over the workers takes, by the collective of training."""

    bytes: Positive
    """Size of the array."""
    seconds: list[Seconds]
    """Seconds of one average, in each window of several: the slowest rank's."""


class Check(Strict):
    """One of the checks of docs/fairness.md."""

    passed: bool
    """Whether the run holds it."""
    detail: str
    """What was found, in words."""


class Mlflow(Strict):
    """Where MLflow has the run."""

    tracking_uri: str
    """Address of the store."""
    experiment: str
    """Name of the experiment."""
    run_id: str
    """Id of the run."""


class Run(Strict):
    """One run, as ``summary.json`` tells it. Times are in seconds of wall-clock time."""

    schema_version: Literal[2]
    """Version of this schema."""
    study: str | None
    """Id of the run's study; null for a run by itself."""
    cell: str | None
    """Hash of the run's options, equal for the repeats of a cell; null for a run by itself."""
    position: Count | None
    """Which of the study's cells, in the order of its plan, from 0; null for a run by itself."""
    framework: str
    """Name as in ``framework=NAME``."""
    framework_version: str
    """Version of the framework."""
    execution: str
    """``eager`` (imperative) or ``graph`` (compiled)."""
    precision: str
    """How products are rounded: ``fp32`` (not at all), ``tf32`` or ``bf16``."""
    optimizer: str
    """``reference`` (as the fairness contract has it) or ``stock`` (the framework's own Adam).

    Which one it is stands in ``options``: ``optimizer.name``.
    """
    model: str
    """Name of the model."""
    data: str
    """What the data set is called by its content: ``mnist``, ``idx:1a2b3c4d``."""
    data_sha256: Sha256
    """SHA-256 of the data set's content."""
    comparison_key: str
    """Hash of all that must be equal for two runs to be compared."""
    series: str
    """Hash of all that must be equal for one run to be another's baseline with one worker."""
    options: dict[str, str]
    """The options that make up the run's cell, as text by name: in them cells of a study differ."""
    device: Literal["cpu", "gpu"]
    """Kind of device of each worker."""
    device_name: str
    """Rank 0's processor or GPU."""
    resources: Resources
    world_size: Positive
    """Number of workers."""
    scaling: Literal["weak", "strong"]
    """``weak``: ``batch_size`` is of each worker; ``strong``: of all together."""
    batch_size: Positive
    """Samples of a step, as asked."""
    global_batch_size: Positive
    """Samples of a step over all workers."""
    learning_rate: float
    """The optimizer's step size, as asked; what becomes of it stands in ``options``: ``rate.``."""
    epochs: Positive
    """Passes over the training set, as asked; how many there were tell ``steps``."""
    seed: int
    """Seed, as asked."""
    repeat: Count
    """Which of the repeats of its cell, from 0."""
    run_seed: int
    """Seed of this repeat: ``seed`` + ``repeat``."""
    group: str
    """Id of the group of worker processes."""
    group_run: Count
    """How many runs these processes had made before; 0 if they were started for this one."""
    restarts: Count
    """How often new workers went on from the last state after a failure."""
    recovery_s: Seconds
    """Seconds from when failures were noticed until the workers after them were ready.

    It is in ``wall_s`` and in no throughput.
    """
    stretches: list[Stretch]
    """Which epochs ran where, and on how many workers: one entry, or one more a restart."""
    sizes: list[Size]
    """What was trained on how many workers: more than one entry where they came or went."""
    threads_per_worker: Positive
    """Computing threads of each worker, as asked."""
    engine: Literal["actors", "train"]
    """What placed the workers: ``actors`` (distlab itself) or ``train`` (Ray Train)."""
    pin: Literal["cores"] | None
    """``cores`` if each worker had cores of its own (see ``cpu_affinity``), else null."""
    placement: Literal["pack", "spread"] | None = None
    """Whether few hosts or many were asked for; null or missing in earlier records."""
    nodes: Positive | None = None
    """How many hosts Ray had when the run began; null or missing in earlier records."""
    ranks: list[Rank] | None = None
    """Each of the last group's ranks, in order; null or missing in earlier records."""
    kept_from_workers: list[str]
    """Environment variables that stood around the command or its Ray and were kept from workers."""
    target_accuracy: Share
    """Test accuracy to which ``time_to_accuracy_s`` is taken, as a share of 1."""
    input_shape: list[Positive] | None = None
    """Channels, height and width of an image; null or missing in earlier records."""
    parameters: Positive
    """Trainable parameters of the model."""
    training_flops_per_sample: Positive
    """Floating-point operations of a forward and a backward pass of one sample."""
    steps_per_epoch: Positive
    """Optimizer steps of an epoch."""
    steps: Positive | None = None
    """Optimizer steps that the run took; null or missing in earlier records."""
    stopped: Literal["at_target", "seconds", "steps"] | None = None
    """What ended the run before its epochs were over, an option of ``stop``; null if nothing."""
    epoch_time_s: list[Seconds]
    """Seconds of each epoch's window on the slowest rank: training steps alone.

    The last may be part of an epoch (``stopped``).
    """
    throughput_samples_per_s: NonNegativeFloat
    """Samples a second of the whole job, over all epochs' windows."""
    communication_share: float | None
    """Share of a step's time that the exchange of gradients costs; noise may make it negative.

    Null with one worker and where it was not measured (``measure_exchange=false``).
    """
    communication_share_low: float | None
    """Lower end of its 95 % interval, for this run's processes; null without an interval.

    Where it is not above 0, the cost cannot be told from none.
    """
    communication_share_high: float | None
    """Upper end of that interval, or null."""
    all_reduces: list[AllReduce] | None = None
    """The same exchange by itself, of arrays of several sizes, the gradient's among them.

    Empty with one worker and where it was not measured; null or missing in earlier records.
    """
    matrix_product_flops_per_s: NonNegativeFloat | None
    """Operations a second of the best matrix product, over all workers; null if unknown.

    On GPUs in the run's precision; on CPUs the best of that and of float32.
    """
    matrix_product_library: str | None
    """The library that reached it on rank 0; null if unknown."""
    model_flop_utilisation: NonNegativeFloat | None
    """The model's own operations a second over that rate, as a share of 1; null if unknown."""
    load: Load | None
    """The machine's load; null where CPU times could not be read."""
    gpus: list[Gpu]
    """The GPU of each rank; empty on CPUs and where NVML (nvidia-ml-py) is not there."""
    energy_j_per_sample: NonNegativeFloat | None
    """Energy of the timed windows in joule for each sample; null where it was not measured.

    Of all ranks' GPUs together; on CPUs of the processors of all hosts, whatever runs on them.
    """
    energy_meter: Literal["NVML", "RAPL"] | None
    """Whose counter told it: a GPU's (``NVML``) or the processors' (``RAPL``); else null."""
    caveats: list[Caveat]
    """What speaks against the figures; empty if nothing was found."""
    step_time_ms: StepTime
    train_loss: list[float]
    """Mean training loss of each epoch in nats."""
    test_loss: list[float]
    """Mean test loss after each epoch in nats."""
    test_accuracy: list[Share | None]
    """Share of the test samples that are classified rightly after each epoch; null of noise."""
    evaluations: list[EvaluationPoint] | None = None
    """All evaluations with ``evaluate.every``; null where there was one after each epoch alone."""
    time_to_accuracy_s: Seconds | None
    """Seconds of training until ``target_accuracy`` was first reached; null if never, or noise."""
    time_to_accuracy_resolution_s: Seconds | None = None
    """Seconds of training from the evaluation before to that one: how finely it is known.

    Null if the target was never reached, or of noise; null or missing in earlier records.
    """
    first_losses: list[float]
    """Training losses of the first ten steps over the global batch, in nats."""
    loss_curve: LossCurve
    weights_sha256: Sha256
    """SHA-256 of the initial weights, read back from the framework."""
    final_weights_sha256: Sha256
    """SHA-256 of the trained weights."""
    samples_sha256: Sha256
    """SHA-256 of the ids of the samples that the ranks consumed, in order."""
    evaluated_samples: Count
    """Test samples that the last evaluation counted, over all ranks."""
    startup_s: Seconds
    """Seconds from the command (in a study: from the run's turn) to the first timed step."""
    startup_split_s: dict[str, float]
    """The same by cause, in seconds; ``worker_*`` is what the slowest rank did."""
    compile_s: Seconds
    """Seconds of compilation and other first-time work, contained in ``startup_s``."""
    peak_memory_bytes: Positive
    """Largest resident set of a worker in bytes, on the host, until the last epoch's end."""
    peak_device_memory_bytes: Count | None
    """Most GPU memory in bytes that a worker's arrays held at once, warm-up apart; null on CPUs."""
    wall_s: Seconds
    """Seconds from the command to the summary."""
    verified: bool
    """Whether all checks passed."""
    checks: dict[str, Check]
    """The checks of docs/fairness.md by name."""
    mlflow: Mlflow
