CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE audit (
	sequence INTEGER NOT NULL, 
	at_s DOUBLE NOT NULL, 
	subject VARCHAR(200) NOT NULL, 
	body TEXT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (sequence)
);
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'rows of audit are never changed'); END;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'rows of audit are never changed'); END;
CREATE TABLE chains (
	name VARCHAR(200) NOT NULL, 
	length BIGINT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_chains PRIMARY KEY (name)
);
CREATE TABLE cursors (
	gateway VARCHAR(200) NOT NULL, 
	boot VARCHAR(200) NOT NULL, 
	batches BIGINT NOT NULL, 
	samples BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_cursors PRIMARY KEY (gateway, boot)
);
CREATE TABLE decisions (
	sequence INTEGER NOT NULL, 
	at_s DOUBLE NOT NULL, 
	subject VARCHAR(200) NOT NULL, 
	body TEXT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_decisions PRIMARY KEY (sequence)
);
CREATE TRIGGER decisions_no_delete BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'rows of decisions are never changed'); END;
CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'rows of decisions are never changed'); END;
CREATE TABLE ended_logins (
	id VARCHAR(16) NOT NULL, 
	until_s DOUBLE NOT NULL, 
	CONSTRAINT pk_ended_logins PRIMARY KEY (id)
);
CREATE TABLE fleet_wishes (
	id VARCHAR(16) NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	version VARCHAR(200) NOT NULL, 
	replica VARCHAR(200) NOT NULL, 
	process VARCHAR(200) NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	asked_s DOUBLE NOT NULL, 
	until_s DOUBLE, 
	ended_s DOUBLE, 
	CONSTRAINT pk_fleet_wishes PRIMARY KEY (id)
);
CREATE TABLE freezes (
	id VARCHAR(16) NOT NULL, 
	service VARCHAR(200) NOT NULL, 
	from_s DOUBLE NOT NULL, 
	until_s DOUBLE, 
	actor VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	lifted_s DOUBLE, 
	CONSTRAINT pk_freezes PRIMARY KEY (id)
);
CREATE INDEX ix_audit_subject ON audit (subject, sequence);
CREATE INDEX ix_decisions_subject ON decisions (subject, sequence);
CREATE INDEX ix_fleet_wishes_open ON fleet_wishes (ended_s);
CREATE INDEX ix_jobs_claim ON jobs (queue, state, priority);
CREATE INDEX ix_outbox_due ON outbox (due_s);
CREATE INDEX ix_wishes_open ON wishes (rollout, met_s);
CREATE TABLE job_signals (
	job VARCHAR(200) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	document TEXT NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	at_s DOUBLE NOT NULL, 
	CONSTRAINT pk_job_signals PRIMARY KEY (job, name), 
	CONSTRAINT fk_job_signals_job_jobs FOREIGN KEY(job) REFERENCES jobs (id)
);
CREATE TABLE job_steps (
	job VARCHAR(200) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	result TEXT NOT NULL, 
	fence BIGINT NOT NULL, 
	at_s DOUBLE NOT NULL, 
	CONSTRAINT pk_job_steps PRIMARY KEY (job, name), 
	CONSTRAINT fk_job_steps_job_jobs FOREIGN KEY(job) REFERENCES jobs (id)
);
CREATE TABLE jobs (
	sequence INTEGER NOT NULL, 
	id VARCHAR(200) NOT NULL, 
	kind VARCHAR(200) NOT NULL, 
	queue VARCHAR(200) NOT NULL, 
	arguments TEXT NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	fence BIGINT NOT NULL, 
	worker VARCHAR(200) NOT NULL, 
	until_s DOUBLE, 
	due_s DOUBLE, 
	awaited VARCHAR(200) NOT NULL, 
	attempts INTEGER NOT NULL, 
	max_attempts INTEGER NOT NULL, 
	progress DOUBLE NOT NULL, 
	message TEXT NOT NULL, 
	cancel BOOLEAN NOT NULL, 
	result TEXT, 
	error TEXT, 
	created_s DOUBLE NOT NULL, 
	started_s DOUBLE, 
	heartbeat_s DOUBLE, 
	ended_s DOUBLE, 
	CONSTRAINT pk_jobs PRIMARY KEY (sequence), 
	CONSTRAINT ck_jobs_ck_jobs_state CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')), 
	CONSTRAINT fk_jobs_queue_queues FOREIGN KEY(queue) REFERENCES queues (name), 
	CONSTRAINT uq_jobs_id UNIQUE (id)
);
CREATE TABLE kills (
	id VARCHAR(16) NOT NULL, 
	service VARCHAR(200) NOT NULL, 
	version VARCHAR(200) NOT NULL, 
	at_s DOUBLE NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	lifted_s DOUBLE, 
	CONSTRAINT pk_kills PRIMARY KEY (id)
);
CREATE TABLE leases (
	name VARCHAR(200) NOT NULL, 
	holder VARCHAR(200) NOT NULL, 
	fence BIGINT NOT NULL, 
	until_s DOUBLE NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (name)
);
CREATE TABLE outbox (
	sequence INTEGER NOT NULL, 
	"key" VARCHAR(200) NOT NULL, 
	topic VARCHAR(200) NOT NULL, 
	document TEXT NOT NULL, 
	created_s DOUBLE NOT NULL, 
	due_s DOUBLE, 
	fence BIGINT NOT NULL, 
	attempts INTEGER NOT NULL, 
	sent_s DOUBLE, 
	error TEXT NOT NULL, 
	CONSTRAINT pk_outbox PRIMARY KEY (sequence), 
	CONSTRAINT uq_outbox_key UNIQUE ("key")
);
CREATE TABLE queues (
	name VARCHAR(200) NOT NULL, 
	at_once INTEGER NOT NULL, 
	CONSTRAINT pk_queues PRIMARY KEY (name)
);
CREATE TABLE replies (
	"key" VARCHAR(200) NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	request VARCHAR(64) NOT NULL, 
	status INTEGER, 
	body TEXT NOT NULL, 
	at_s DOUBLE NOT NULL, 
	CONSTRAINT pk_replies PRIMARY KEY ("key", actor)
);
CREATE TABLE rolled_back (
	service VARCHAR(200) NOT NULL, 
	digest VARCHAR(200) NOT NULL, 
	version VARCHAR(200) NOT NULL, 
	rollout_id VARCHAR(200) NOT NULL, 
	at_s DOUBLE NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_rolled_back PRIMARY KEY (service, digest)
);
CREATE TABLE rollouts (
	id VARCHAR(200) NOT NULL, 
	service VARCHAR(200) NOT NULL, 
	generation INTEGER NOT NULL, 
	service_revision INTEGER NOT NULL, 
	champion VARCHAR(200) NOT NULL, 
	challenger VARCHAR(200) NOT NULL, 
	phase VARCHAR(40) NOT NULL, 
	ended BOOLEAN NOT NULL, 
	revision INTEGER NOT NULL, 
	fence BIGINT NOT NULL, 
	state_schema INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	created_s DOUBLE NOT NULL, 
	updated_s DOUBLE NOT NULL, digest VARCHAR(200) DEFAULT '' NOT NULL, salt VARCHAR(200) DEFAULT '' NOT NULL, actor VARCHAR(200) DEFAULT '' NOT NULL, reason TEXT DEFAULT '' NOT NULL, forced BOOLEAN DEFAULT 0 NOT NULL, room TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_rollouts PRIMARY KEY (id), 
	CONSTRAINT fk_rollouts_service_services FOREIGN KEY(service) REFERENCES services (name), 
	CONSTRAINT uq_rollouts_service UNIQUE (service, generation)
);
CREATE TABLE schedule_slots (
	schedule VARCHAR(200) NOT NULL, 
	slot_s BIGINT NOT NULL, 
	job VARCHAR(200) NOT NULL, 
	CONSTRAINT pk_schedule_slots PRIMARY KEY (schedule, slot_s), 
	CONSTRAINT fk_schedule_slots_schedule_schedules FOREIGN KEY(schedule) REFERENCES schedules (name)
);
CREATE TABLE schedules (
	name VARCHAR(200) NOT NULL, 
	rule VARCHAR(200) NOT NULL, 
	kind VARCHAR(200) NOT NULL, 
	arguments TEXT NOT NULL, 
	since_s DOUBLE NOT NULL, 
	CONSTRAINT pk_schedules PRIMARY KEY (name)
);
CREATE TABLE service_revisions (
	service VARCHAR(200) NOT NULL, 
	revision INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	document TEXT NOT NULL, 
	at_s DOUBLE NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_service_revisions PRIMARY KEY (service, revision), 
	CONSTRAINT fk_service_revisions_service_services FOREIGN KEY(service) REFERENCES services (name)
);
CREATE TRIGGER service_revisions_no_delete BEFORE DELETE ON service_revisions BEGIN SELECT RAISE(ABORT, 'rows of service_revisions are never changed'); END;
CREATE TRIGGER service_revisions_no_update BEFORE UPDATE ON service_revisions BEGIN SELECT RAISE(ABORT, 'rows of service_revisions are never changed'); END;
CREATE TABLE services (
	name VARCHAR(200) NOT NULL, 
	revision INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, champion VARCHAR(200), previous VARCHAR(200), champion_since_s DOUBLE, 
	CONSTRAINT pk_services PRIMARY KEY (name)
);
CREATE TABLE silences (
	id VARCHAR(16) NOT NULL, 
	service VARCHAR(200) NOT NULL, 
	objective VARCHAR(200) NOT NULL, 
	at_s DOUBLE NOT NULL, 
	until_s DOUBLE NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	lifted_s DOUBLE, 
	CONSTRAINT pk_silences PRIMARY KEY (id)
);
CREATE TABLE tokens (
	id VARCHAR(16) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	holder VARCHAR(200) NOT NULL, 
	role VARCHAR(20) NOT NULL, 
	scopes TEXT NOT NULL, 
	created_s DOUBLE NOT NULL, 
	created_by VARCHAR(200) NOT NULL, 
	expires_s DOUBLE, 
	revoked_s DOUBLE, 
	CONSTRAINT pk_tokens PRIMARY KEY (id), 
	CONSTRAINT ck_tokens_ck_tokens_role CHECK (role IN ('viewer', 'operator', 'approver', 'admin'))
);
CREATE TABLE undos (
	id VARCHAR(16) NOT NULL, 
	service VARCHAR(200) NOT NULL, 
	version VARCHAR(200) NOT NULL, 
	at_s DOUBLE NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_undos PRIMARY KEY (id)
);
CREATE UNIQUE INDEX uq_rollouts_live ON rollouts (service) WHERE ended = 0;
CREATE TABLE watches (
	service VARCHAR(200) NOT NULL, 
	version VARCHAR(200) NOT NULL, 
	since_s DOUBLE NOT NULL, 
	fence BIGINT NOT NULL, 
	state TEXT NOT NULL, 
	updated_s DOUBLE NOT NULL, 
	CONSTRAINT pk_watches PRIMARY KEY (service, version), 
	CONSTRAINT fk_watches_service_services FOREIGN KEY(service) REFERENCES services (name)
);
CREATE TABLE wishes (
	sequence INTEGER NOT NULL, 
	rollout VARCHAR(200) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	gates TEXT NOT NULL, 
	asked_s DOUBLE NOT NULL, 
	met_s DOUBLE, 
	fence BIGINT NOT NULL, 
	refusal TEXT NOT NULL, 
	CONSTRAINT pk_wishes PRIMARY KEY (sequence), 
	CONSTRAINT fk_wishes_rollout_rollouts FOREIGN KEY(rollout) REFERENCES rollouts (id)
);
