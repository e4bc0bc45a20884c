//! What moto 5.2.5 is known to do otherwise than AWS.

/// Of one case.
pub(crate) struct Difference {
    pub(crate) case: &'static str,
    /// The outcome that AWS has, and the double.
    pub(crate) ours: &'static str,
    /// The outcome that moto has.
    pub(crate) moto: &'static str,
    /// What moto does otherwise.
    pub(crate) why: &'static str,
}

/// Each of them. One that moto has mended fails its case, so that this list does not outlive it.
pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        case: "no_stream",
        ours: "ok, ResourceNotFoundException (The specified log stream does not exist.), ResourceNotFoundException (The specified log stream does not exist.); ResourceNotFoundException",
        moto: "ok, ResourceNotFoundException (The specified log stream does not exist.), ResourceNotFoundException (The specified log group does not exist.); ResourceNotFoundException",
        why: "its DeleteLogStream misses the group where the stream is missing",
    },
    Difference {
        case: "what_is_there_is_not_created",
        ours: "ok, ok, ResourceAlreadyExistsException (The specified log group already exists), ResourceAlreadyExistsException (The specified log stream already exists); []",
        moto: "ok, ok, ResourceAlreadyExistsException (The specified log group already exists), ResourceAlreadyExistsException (The specified log group already exists); []",
        why: "it has one text for groups and streams",
    },
    Difference {
        case: "some_are_too_old",
        ours: r#"ok, ok, ok {"tooOldLogEventEndIndex":3}; ["d"]"#,
        moto: r#"ok, ok, ok {"tooOldLogEventEndIndex":2}; ["d"]"#,
        why: "its index is that of the last one; AWS's is exclusive",
    },
    Difference {
        case: "two_are_too_new",
        ours: r#"ok, ok, ok {"tooNewLogEventStartIndex":1}; ["a"]"#,
        moto: r#"ok, ok, ok {"tooNewLogEventStartIndex":2}; ["a"]"#,
        why: "its index is that of the last one; AWS's is that of the first",
    },
    Difference {
        case: "too_many_events",
        ours: "ok, ok, InvalidParameterException; []",
        moto: "ok, ok, ok; 10001 events",
        why: "it does not count events",
    },
    Difference {
        case: "too_large_a_batch",
        ours: "ok, ok, InvalidParameterException; []",
        moto: r#"ok, ok, ok; ["mmmmmmmmmmmmmmmmmmmm", "mmmmmmmmmmmmmmmmmmmm"]"#,
        why: "it does not weigh batches",
    },
    Difference {
        case: "too_large_a_message",
        ours: "ok, ok, InvalidParameterException; []",
        moto: r#"ok, ok, ok; ["éééééééééééééééééééé"]"#,
        why: "it does not weigh messages",
    },
    Difference {
        case: "more_than_24_hours",
        ours: "ok, ok, InvalidParameterException; []",
        moto: r#"ok, ok, ok; ["a", "b"]"#,
        why: "it knows no span",
    },
    Difference {
        case: "no_events",
        ours: "ok, ok, InvalidParameterException; []",
        moto: "ok, ok, ok; []",
        why: "it takes a batch without events",
    },
    Difference {
        case: "an_empty_message",
        ours: "ok, ok, InvalidParameterException; []",
        moto: r#"ok, ok, ok; [""]"#,
        why: "it takes a message without characters",
    },
    Difference {
        case: "past_retention",
        ours: r#"ok, ok, ok, ok {"expiredLogEventEndIndex":1}; []"#,
        moto: r#"ok, ok, ok, ok; ["a"]"#,
        why: "it remembers the days and does not heed them",
    },
    Difference {
        case: "days_that_cannot_be_retained",
        ours: "ok, ok, InvalidParameterException; []",
        moto: "ok, ok, ok; []",
        why: "it takes any number of days",
    },
    Difference {
        case: "names_of_streams_that_cannot_be",
        ours: "ok, ok, InvalidParameterException, InvalidParameterException, InvalidParameterException, InvalidParameterException; []",
        moto: "ok, ok, ok, ok, ok, ok; []",
        why: "it takes any name of a stream",
    },
    Difference {
        case: "names_of_groups_that_cannot_be",
        ours: "ok, ok, InvalidParameterException, InvalidParameterException, InvalidParameterException, InvalidParameterException; []",
        moto: "ok, ok, ok, ok, ok, ok; []",
        why: "it takes any name of a group that is not too long",
    },
    Difference {
        case: "a_negative_timestamp",
        ours: "ok, ok, InvalidParameterException; []",
        moto: r#"ok, ok, ok {"tooOldLogEventEndIndex":0}; []"#,
        why: "it has no least timestamp",
    },
    Difference {
        case: "no_timestamp",
        ours: "ok, ok, InvalidParameterException; []",
        moto: "ok, ok, 500; []",
        why: "it breaks on it",
    },
    Difference {
        case: "a_bad_entity",
        ours: r#"ok, ok, ok {"errorType":"InvalidKeyAttributes"}; ["a"]"#,
        moto: r#"ok, ok, ok; ["a"]"#,
        why: "it knows no entities",
    },
    Difference {
        case: "an_operation_that_is_none",
        ours: "ok, ok, UnknownOperationException; []",
        moto: "ok, ok, 500; []",
        why: "it breaks on it",
    },
];
