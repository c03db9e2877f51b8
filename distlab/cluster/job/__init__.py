"""A command as a job of a Ray that runs elsewhere (``cluster=job``)."""
