//! Which system relations there are, and their columns. Those of PostgreSQL are listed as version 15 has them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// One line a relation: schema, name, OID, then `column type` with `!` for NOT NULL, apart by commas.
const POSTGRES: &str = include_str!("postgres_relations.tsv");

/// The views of schema `granary`, in the same form. Columns are only ever added, at the end.
const GRANARY: &[(&str, &str)] = &[
    (
        "alert_deliveries",
        "schema name!,alert name!,id text!,event text!,action text!,target text!,created_at timestamptz!,state text!,\
         attempts int4!,attempted_at timestamptz,next_attempt_at timestamptz,error text",
    ),
    (
        "alerts",
        "schema name!,name name!,condition text!,severity text!,state text!,since timestamptz,rows int8!,\
         last_checked_at timestamptz,last_told_at timestamptz,times_told int4!,resolved_at timestamptz,\
         last_error text,failures int4!,paused bool!,hold interval!,repeat_every interval,repeat_at_most int8,\
         check_every interval!,actions _text!,owner text!,description text",
    ),
    ("api_keys", "name name!,role name!,prefix text!,created_at timestamptz!,owner text!,description text"),
    ("applies", "version int8!,plan int8!,applied_at timestamptz!,role text!,message text,changes int8!"),
    (
        "audit_log",
        "version int8,at timestamptz!,role text!,action text!,kind text,name text,statement text,client text,\
         sqlstate text,message text,rows_added int8,rows_removed int8",
    ),
    (
        "dataset_inputs",
        "schema name!,dataset name!,version int8!,object_schema text!,object text!,kind text!,revision int8!,\
         rows_version int8,definition text!",
    ),
    (
        "datasets",
        "schema name!,name name!,version int8!,rows int8!,bytes int8!,created_at timestamptz!,created_by text!,\
         query text!,catalog_version int8!,job int8,settings _text!,is_newest bool!,owner text!,description text",
    ),
    (
        "dead_letters",
        "schema name!,stream name!,partition int4!,\"offset\" int8!,timestamp timestamptz,reason text!,payload bytea!,\
         payload_bytes int8!",
    ),
    (
        "drift_of_runs",
        "schema name!,view name!,job int8!,state text,range_start timestamptz,range_end timestamptz,\
         feature text!,previous_job int8!,previous_rows int8,rows int8!,psi float8,js_distance float8,\
         ks float8,share_change float8",
    ),
    ("entities", "schema name!,name name!,join_keys _text!,types _text!,owner text!,description text"),
    (
        "expectation_results",
        "schema name!,view name!,job int8!,state text,range_start timestamptz,range_end timestamptz,\
         expectation name!,condition text!,severity text!,on_failure text!,ok bool,figures _text!,\
         figure_values _text!,error text,checked_at timestamptz!",
    ),
    (
        "expectations",
        "schema name!,name name!,view name!,condition text!,severity text!,on_failure text!,owner text!,description text",
    ),
    (
        "expiry",
        "schema name!,view name!,last_run_at timestamptz!,expired_before timestamptz,rows_removed int8!,\
         rows_removed_in_total int8!,runs int8!",
    ),
    (
        "feature_tables",
        "schema name!,name name!,entities _text!,keys _text!,timestamp text!,start timestamptz,ttl interval,\
         online bool!,offline bool!,owner text!,description text",
    ),
    (
        "feature_views",
        "schema name!,name name!,kind text!,entities _text!,keys _text!,timestamp text!,schedule interval,\
         aggregation_interval interval,data_delay interval!,start timestamptz,lifetime_start timestamptz,\
         ttl interval,online bool!,offline bool!,trigger text!,owner text!,description text,\
         materialized_offline_until timestamptz,materialized_online_until timestamptz,features int4!,revision int8!,\
         cache interval,paused bool!,max_backfill_interval interval,max_attempts int4",
    ),
    (
        "features",
        "schema name!,view name!,name name!,position int4!,type text!,function text,window text,expression text,\
         filter text,description text",
    ),
    (
        "freshness",
        "schema name!,view name!,kind text!,stream name,newest_event timestamptz,newest_arrival timestamptz,\
         materialized_until timestamptz,freshness interval,freshness_seconds float8,expected_freshness interval,\
         is_stale bool",
    ),
    ("grants", "grantee text!,privilege text!,kind text!,schema name,object name!,\"column\" name"),
    (
        "job_attempts",
        "job int8!,attempt int4!,state text!,started_at timestamptz!,finished_at timestamptz,error_sqlstate text,\
         error_message text",
    ),
    ("job_logs", "job int8!,attempt int4!,at timestamptz!,level text!,message text!"),
    (
        "jobs",
        "id int8!,kind text!,feature_view text,state text!,range_start timestamptz,range_end timestamptz,\
         online bool!,offline bool!,overwrite bool!,created_at timestamptz!,started_at timestamptz,\
         finished_at timestamptz,rows_read int8!,rows_written int8!,error_sqlstate text,error_message text,\
         attempts int4!,role text!,statement text,dataset text,dataset_version int8,trigger text!,\
         next_attempt_at timestamptz,failures int4!,max_attempts int4!,periods_total int8,periods_done int8,\
         estimated_rows int8,estimated_duration interval",
    ),
    (
        "late_rows",
        "schema name!,view name!,range_start timestamptz,range_end timestamptz!,rows_then int8!,rows_now int8!,\
         late_rows int8!,checked_at timestamptz!,statement text!",
    ),
    (
        "lineage",
        "from_kind text,from_schema text,from_object text,from_column text,to_kind text!,to_schema text!,to_object text!,\
         to_column text,type text!,subtype text!,error text",
    ),
    (
        "materialized_ranges",
        "schema name!,view name!,store text!,start timestamptz,\"end\" timestamptz!,features _text!",
    ),
    (
        "metrics",
        "name text!,type text!,service text,door text,outcome text,status text,le float8,value float8!,stream text,\
      partition int4,view text,sink text,alert text,phase text,kind text,state text,part text,version text",
    ),
    (
        "quality",
        "schema name!,view name!,job int8!,state text,range_start timestamptz,range_end timestamptz,\
         feature text!,rows int8!,nulls int8!,null_share float8,zeros int8,zero_share float8,\
         non_finite int8,distinct_values int8,distinct_exact bool,min float8,max float8,mean float8,\
         stddev float8,p01 float8,p05 float8,p25 float8,p50 float8,p75 float8,p95 float8,p99 float8,\
         min_length int8,max_length int8,mean_length float8,top_values _text!,top_counts _int8!,\
         top_error int8!",
    ),
    (
        "quality_of_runs",
        "schema name!,view name!,job int8!,state text,range_start timestamptz,range_end timestamptz,\
         profiled_at timestamptz!,rows int8!,distinct_keys int8!,distinct_keys_exact bool!,\
         previous_job int8,expectations int8!,failed int8!",
    ),
    ("ready", "schema name!,name name!,kind text!,online_ready_until timestamptz,offline_ready_until timestamptz"),
    ("roles", "name name!,login bool!,superuser bool!,member_of _text!,admin_of _text!,description text"),
    (
        "search",
        "kind text!,schema name!,name name!,parent name,type text,entities _text!,keys _text!,owner text!,tags jsonb!,\
         description text,changed_at timestamptz,text text!",
    ),
    (
        "services",
        "schema name!,name name!,members _text!,cache interval,log_sample float8,owner text!,description text,\
         keys _text!,request _text!,features int4!",
    ),
    ("settings", "name text!,setting text!,description text!"),
    (
        "sinks",
        "schema name!,name name!,type text!,view name!,topic text,state text!,position int8,lag int8,messages int8!,\
         last_error text,last_error_at timestamptz,owner text!,description text",
    ),
    (
        "plan_changes",
        "plan int8!,action text!,kind text!,schema text!,name text!,renamed_from text,changes text!,reason text,jobs text,\
         estimated_rows int8,warnings _text!,file text",
    ),
    ("plan_files", "plan int8!,path text!,text text!"),
    (
        "plans",
        "plan int8!,created_at timestamptz!,role text!,message text,changes int8!,applied_at timestamptz,\
         applied_version int8,suppress_recreates bool!",
    ),
    (
        "sources",
        "schema name!,name name!,type text!,format text,paths _text,query text,timestamp text,data_delay interval!,\
         columns int4!,owner text!,description text",
    ),
    ("stream_partitions", "schema name!,stream name!,partition int4!,next_offset int8,high_watermark int8,lag int8"),
    (
        "streams",
        "schema name!,name name!,type text!,timestamp text!,deduplicate_by _text!,backfill_source text,\
         backfill_until timestamptz,columns int4!,owner text!,description text,state text!,first_offset int8!,\
         end_offset int8!,flushed_offset int8!,log_bytes int8!,last_error text,lag int8,dead_letters int8!,\
         last_error_at timestamptz,events_per_second float8!,newest_event timestamptz,newest_arrival timestamptz",
    ),
    ("tables", "schema name!,name name!,columns int4!,owner text!,description text"),
    ("tests", "schema name!,name name!,owner text!,description text,statement text!"),
    ("views", "schema name!,name name!,query text!,owner text!,description text"),
];

/// Relations and functions of schema `granary` that a later release has.
pub const LATER: [&str; 2] = ["consistency", "request_log"];

/// OIDs below 16384 are PostgreSQL's own; those around 14000 are free in version 15.
const FIRST_GRANARY_OID: i64 = 14_500;

/// One system relation.
#[derive(Debug)]
pub struct Relation {
    pub schema: &'static str,
    pub name: &'static str,
    pub oid: i64,
    pub columns: Vec<SystemColumn>,
    pub arrow: SchemaRef,
}

#[derive(Debug)]
pub struct SystemColumn {
    pub name: &'static str,
    /// `pg_type.typname`; arrays begin with an underscore; a modifier may stand behind it
    pub type_name: &'static str,
    pub not_null: bool,
}

static RELATIONS: LazyLock<Vec<Relation>> = LazyLock::new(|| {
    let postgres = POSTGRES.lines().map(|line| {
        let mut parts = line.split('\t');
        let mut next = || parts.next().unwrap_or_default();
        let (schema, name, oid, columns) = (next(), next(), next(), next());
        new(schema, name, oid.parse().expect("the list is ours"), columns)
    });
    let granary = GRANARY.iter().zip(FIRST_GRANARY_OID..);
    postgres.chain(granary.map(|((name, columns), oid)| new("granary", name, oid, columns))).collect()
});

static BY_NAME: LazyLock<HashMap<&'static str, HashMap<&'static str, &'static Relation>>> = LazyLock::new(|| {
    let mut schemas: HashMap<_, HashMap<_, _>> = HashMap::new();
    for relation in RELATIONS.iter() {
        schemas.entry(relation.schema).or_default().insert(relation.name, relation);
    }
    schemas
});

/// All of them.
pub fn relations() -> &'static [Relation] {
    &RELATIONS
}

pub fn relation(schema: &str, name: &str) -> Option<&'static Relation> {
    BY_NAME.get(schema)?.get(name).copied()
}

fn new(schema: &'static str, name: &'static str, oid: i64, columns: &'static str) -> Relation {
    let columns: Vec<SystemColumn> = columns
        .split(',')
        .map(|column| {
            let (name, type_name) = column.trim().split_once(' ').expect("a column has a name and a type");
            SystemColumn {
                name: name.trim_matches('"'),
                type_name: type_name.trim_end_matches('!'),
                not_null: type_name.ends_with('!'),
            }
        })
        .collect();
    let arrow = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    Relation { schema, name, oid, columns, arrow }
}

/// The metadata that makes the wire show another type than the Arrow type's natural one.
const SHOWN_AS: &str = "pg.type";
const SHOWN: [&str; 8] = ["oid", "name", "char", "xid", "int2vector", "oidvector", "regproc", "varchar"];

fn field(column: &SystemColumn) -> Field {
    // Nullable also where PostgreSQL has NOT NULL: the promise would only let the optimizer cut corners.
    let field = Field::new(column.name, data_type(column.type_name), true);
    let item = column.type_name.trim_start_matches('_').split('(').next().unwrap_or_default();
    if !SHOWN.contains(&item) {
        return field;
    }
    let shown = if !column.type_name.starts_with('_') { item.to_owned() } else { format!("{item}[]") };
    field.with_metadata([(SHOWN_AS.to_owned(), shown)].into())
}

/// The Arrow type of a column of a type of PostgreSQL.
pub fn data_type(type_name: &str) -> DataType {
    if let Some(item) = type_name.strip_prefix('_') {
        return DataType::new_list(data_type(item), true);
    }
    match type_name {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" | "oid" | "xid" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "bytea" => DataType::Binary,
        "interval" => DataType::Duration(TimeUnit::Microsecond),
        "int2vector" => DataType::new_list(DataType::Int16, true),
        "oidvector" => DataType::new_list(DataType::Int64, true),
        _ => DataType::Utf8,
    }
}
