"""Everything on one machine: the embedded Kafka, and the processes of an instance under their supervisor."""
