# Nomad, raw_exec (not tested). exec2 and the pledge driver use Landlock, which forbids mounts: no sandbox can be made there.
job "work" {
  type = "batch"
  group "work" {
    task "work" {
      driver = "raw_exec"
      artifact { source = "https://example.org/joblet-exec" }
      config {
        command = "local/joblet-exec"
        args    = ["run", "--here", "--network=host", "--init", "--env=NOMAD_*", "--runtime=python-3.11", "python3", "work.py"]
      }
      kill_timeout = "30s"
    }
  }
}
