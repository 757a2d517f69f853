@wire
Feature: Telling why
  Why something is as it is has an answer: who asked for what, what was done on
  the host for it, how that ended, and what followed from it elsewhere.

  Rule: From the request to its outcome

    @lvm
    Scenario: What was asked, what was run, what came of it
      Given "ana" asks because of "the spring sale"
      And everything is asked under the key "sale"
      When a volume "db" of 1 GiB is created
      Then "db" is available
      And it is told why "db" is so: "ana" asked because of "the spring sale"
        | what                       |
        | volume.created             |
        | > volume.creation_finished |
      And it is told what was run on the host for "volume.creation_finished" of "db"

    Scenario: By the key of the request
      Given everything is asked under the key "sale"
      When a volume "db" of 1 GiB is created
      Then "db" is available
      And it is told what followed from the key "sale"
        | what                       |
        | volume.created             |
        | > volume.creation_finished |

    Scenario: Why something happened that is over
      Given an available volume "db" of 1 GiB
      And "db" was extended to 2 GiB
      Then it is told why "volume.creation_finished" of "db" happened
        | what                       |
        | volume.created             |
        | > volume.creation_finished |

  Rule: What follows elsewhere is in the tree

    @lvm
    Scenario: A volume is deleted with its snapshots
      Given an available volume "db"
      And a snapshot "monday" of "db"
      When "db" is deleted with its snapshots
      Then "db" is deleted
      And it is told why "db" is so
        | what                          |
        | volume.cascade_started        |
        | > volume.cascade_looked_at    |
        | >> snapshot.deletion_started  |
        | >>> snapshot.deleted          |
        | >>>> volume.snapshot_removed  |
        | >>>> volume.deletion_started  |
        | >>>>> volume.deleted          |

    Scenario: A copy that failed leads to its source, and to what became of that
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And "copy" could not be made of the snapshot "monday"
      And the snapshot "monday" was deleted
      When it is asked why "copy" is so
      Then these are its causes
        | what                     |
        | volume.created           |
        | > volume.creation_failed |
        | >> snapshot.copy_ended   |
        | snapshot.copy_begun      |
      And the snapshot "monday" was available then and is deleted now

    Scenario: What time brought about
      Given a service that soon loses its patience
      And an available volume "db"
      And "web-1" has reserved "db"
      When the deadline passes
      Then it is told why "db" is so
        | what              |
        | volume.reserved   |
        | > volume.released |

  Rule: What never was has no cause

    Scenario: A volume
      When it is asked why a volume that never was is so
      Then the request is refused as not-found

    Scenario: A request
      When it is asked what followed from a request that never was
      Then the request is refused as not-found
