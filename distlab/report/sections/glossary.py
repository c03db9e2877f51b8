"""What a report says of its own figures: a legend for each section, and the method."""

FIGURES = (
    "Medians over repeats, and their 95 % intervals. A row that stands out is faster than every "
    "other framework with as many workers, beyond doubt. Start-up and compile times, in seconds, "
    "are of runs in freshly started processes (compile: or of a cell's first run), and in no "
    "throughput. Exchange is the share of a step that gradient "
    "exchange takes; MFU (model FLOP utilisation) is the model's arithmetic over the float32 "
    "matrix products that the same threads can do."
)
RATIOS = (
    "Ratios of throughputs over pairs of repeats, which share their seed and their time. Where the "
    "95 % interval holds 1, no difference can be told."
)
CLASSROOM = (
    "Published means of ten runs beside ours. Ours are of training alone (all epochs' windows); a "
    "whole run is from the command to the record."
)
COMPILATION = (
    "A graph is compiled before the first step, outside the timed windows, so no throughput has "
    "that in it. It pays once what it saves an epoch adds up to what compiling it took. Compile "
    "times are of runs in processes that had not compiled the same before: mostly one run a cell, "
    "so they have no interval. The interval of what is saved is that of the ratio of throughputs, "
    "times eager's median epoch."
)
SCORECARD = (
    "The original study's three criteria. Lines of code and speed are measured; openness is dated "
    "facts with their sources, and no ranking."
)
METHOD = [
    (
        "window",
        "An epoch is timed between two barriers, with the devices idle at both ends. Only training "
        "steps are inside; warm-up, compilation, evaluation and records are outside.",
    ),
    (
        "throughput",
        "Samples of all workers over the slowest worker's windows, over all epochs of a run.",
    ),
    (
        "speed-up, efficiency",
        "T(n) / T(1) and T(n) / (n T(1)) of throughputs, where the runs with 1 worker differ in "
        "nothing else; geometric means over repeats.",
    ),
    (
        "intervals",
        "95 % intervals over repeats: of a median from its order statistics (fewer than 6 runs: "
        "Student's t), of a ratio by Student's t from the logarithms of the ratios of pairs. A "
        "pair is two runs of one repeat, which share their seed and their time. Fewer than 3 runs "
        "have no interval.",
    ),
    (
        "repeats",
        "Repeat k of every cell uses seed + k, and repeats are interleaved, so that a drift of the "
        "machine hits all cells alike. One run at a time has the machine.",
    ),
    (
        "verified",
        "Each run checks that its weights, samples, optimizer, arithmetic, threads and clock are "
        "what the fairness contract demands. A run that fails a check, or whose machine was too "
        "busy with other work, is set apart and no figure is from it.",
    ),
]
